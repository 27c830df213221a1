"""Readiness is proven: a swapped model or a wrong expectation is never served as ready."""

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from running import SAMPLES, serving


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES / "detection", tmp_path / "project"))


def readiness(url: str) -> tuple[int, str]:
    answer = httpx.get(f"{url}/v2/health/ready")
    return answer.status_code, answer.text


def test_other_weights_miss_the_cache_and_fail_the_golden_samples(project: Path, cache: Path):
    with serving(project, cache) as server:
        assert readiness(server.url)[0] == 200
        before = httpx.get(f"{server.url}/v1/status").json()["engine"]
    path = project / "models" / "nanodet-g-416.onnx"
    model = onnx.load(path)
    random = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:
            tensor.CopyFrom(numpy_helper.from_array(random.permuted(array, axis=0), tensor.name))
    onnx.save(model, path)
    with serving(project, cache) as server:
        status, text = readiness(server.url)
        assert status == 503
        assert "golden" in text
        after = httpx.get(f"{server.url}/v1/status").json()["engine"]
        assert after["model_digest"] != before["model_digest"]
        assert after["plan_digest"] != before["plan_digest"]
        refused = httpx.post(
            f"{server.url}/v1/predict", content=(project / "golden" / "astronaut.png").read_bytes()
        )
        assert refused.status_code == 503
        assert "golden" in refused.json()["detail"]


def test_a_wrong_expectation_is_never_ready_and_says_why(project: Path, cache: Path):
    path = project / "golden" / "golden.json"
    golden = json.loads(path.read_text())
    golden["samples"][0]["expected"]["detections"][0]["label"] = "bicycle"
    golden["samples"][0]["expected"]["detections"][0]["class_id"] = 1
    path.write_text(json.dumps(golden))
    with serving(project, cache) as server:
        status, text = readiness(server.url)
        assert status == 503
        assert "astronaut.png" in text
        assert "bicycle" in text
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
