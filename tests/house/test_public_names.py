import subprocess
import sys

import pytest

import enginecrate

PINNED = {
    "Backend", "Engine", "EnginecrateError", "Manifest", "Pipeline", "PipelineSpec", "Predictor",
    "Prepared", "Project", "Settings", "TensorSpec", "__version__", "load_manifest",
    "load_settings", "open_predictor", "open_project", "run_build", "serve",
}  # fmt: skip


def test_the_public_names_are_pinned_and_exist():
    assert set(enginecrate.__all__) == PINNED
    for name in enginecrate.__all__:
        assert getattr(enginecrate, name) is not None


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        enginecrate.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    script = (
        "import enginecrate, sys; print([m for m in ('numpy','onnx','typer') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
