"""The bytes that a customer's registry takes when an app gets a new model."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from containers import Registry
from sample_image import TAG, run_program
from shaped_proxy import shaped_proxy

MODEL = "models/nanodet-g-416.onnx"


def retrain(path: Path) -> None:
    """Change every weight a little, as more training does."""
    model = onnx.load(path)
    random = np.random.default_rng(7)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            noise = random.standard_normal(values.shape, dtype=np.float32) * np.float32(1e-5)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * (1 + noise), tensor.name))
    onnx.save(model, path)


@pytest.mark.full
def test_a_new_model_pushes_little_more_than_itself(
    built_image: Path, registry: Registry, tmp_path: Path
) -> None:
    project = tmp_path / "detection"
    shutil.copytree(built_image.parents[1], project)
    with shaped_proxy(registry.address) as line:
        target = f"{line.address}/rebuild/photo-detector"
        run_program("image", "push", f"oci:{built_image}:{TAG}", target)
        before = line.sent
        retrain(project / MODEL)
        manifest = project / "enginecrate.toml"
        text = manifest.read_text().replace('version = "1.0.0"', 'version = "1.0.1"')
        manifest.write_text(text)
        run_program("lock", "--project", project, "--platform", "linux/amd64")
        run_program("image", "build", "--project", project, "--platform", "linux/amd64")
        run_program("image", "push", f"oci:{project}/build/image:v1.0.1-ort-cpu", target)
        pushed = line.sent - before
    assert pushed > 1_000_000
    assert pushed < (project / MODEL).stat().st_size + 1_000_000
