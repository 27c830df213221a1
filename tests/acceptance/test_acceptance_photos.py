"""A photo goes in, detections come out: the main job, over every way in."""

import base64
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
from PIL import Image

from running import PROGRAM, SAMPLES, RunningServer, clean_environment

GOLDEN = SAMPLES / "detection" / "golden"
CLIENT = SAMPLES / "clients" / "infer_v2.py"


def predict(server: RunningServer, photo: Path) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/v1/predict", content=photo.read_bytes())
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("photo", "label", "least"),
    [("astronaut.png", "person", 0.6), ("camera.png", "person", 0.6), ("coffee.png", "cup", 0.4)],
)
def test_the_detector_finds_it(detector: RunningServer, photo: str, label: str, least: float):
    answer = predict(detector, GOLDEN / photo)
    found = answer["results"][0]["detections"]
    assert any(one["label"] == label and one["score"] >= least for one in found), found
    engine = answer["engine"]
    assert engine.pop("plan")
    assert engine == {"backend": "onnxruntime", "precision": "fp32", "device": "cpu"}
    assert set(answer["timing_ms"]) == {"decode", "queue", "compute", "postprocess", "total"}


def test_the_classifier_says_espresso(classifier: RunningServer):
    answer = predict(classifier, SAMPLES / "classification" / "golden" / "coffee.png")
    best = answer["results"][0]["classes"][0]
    assert best["label"] == "espresso"
    assert best["score"] >= 0.9


@pytest.mark.parametrize("photo", ["astronaut.png", "camera.png", "coffee.png"])
def test_every_way_in_gives_the_same_boxes(detector: RunningServer, cache: Path, photo: str):
    path = GOLDEN / photo
    project = SAMPLES / "detection"
    local = run(PROGRAM, "predict", path, "--project", project, "--json", cache=cache)
    by_http = predict(detector, path)["results"][0]
    by_tensors = run(sys.executable, CLIENT, project, path, "--url", detector.address, cache=cache)
    same_boxes(local["results"][0], by_http)
    same_boxes(by_tensors, by_http)


def run(*command: object, cache: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=clean_environment(ENGINECRATE_CACHE_DIR=str(cache)),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same_boxes(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len(one["detections"]) == len(other["detections"]) > 0
    for mine, yours in zip(one["detections"], other["detections"], strict=True):
        assert mine["label"] == yours["label"]
        assert mine["box"] == pytest.approx(yours["box"], abs=1)
        assert mine["score"] == pytest.approx(yours["score"], abs=0.001)


def test_raw_multipart_and_data_url_agree(detector: RunningServer):
    photo = (GOLDEN / "astronaut.png").read_bytes()
    url = f"{detector.url}/v1/predict"
    raw = httpx.post(url, content=photo).json()["results"]
    form = httpx.post(url, files=[("a", ("a.png", photo)), ("b", ("b.png", photo))])
    assert form.json()["results"] == [raw[0], raw[0]]
    data_url = "data:image/png;base64," + base64.b64encode(photo).decode()
    assert httpx.post(url, json={"image_url": data_url}).json()["results"] == raw


def test_the_annotated_picture_differs_where_the_box_is(detector: RunningServer):
    path = GOLDEN / "astronaut.png"
    found = predict(detector, path)["results"][0]["detections"][0]
    answer = httpx.post(f"{detector.url}/v1/predict?annotate=1", content=path.read_bytes())
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(BytesIO(answer.content)).convert("RGB")).astype(int)
    plain = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert drawn.shape == plain.shape
    changed = np.argwhere(np.abs(drawn - plain).sum(axis=2) > 30)
    x1, _, x2, y2 = found["box"]
    assert changed[:, 1].min() == pytest.approx(x1, abs=8)
    assert changed[:, 1].max() == pytest.approx(x2, abs=8)
    assert changed[:, 0].max() == pytest.approx(y2, abs=8)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritonclient_unmodified(detector: RunningServer, binary: bool):
    array = np.random.default_rng(7).normal(size=(2, 3, 416, 416)).astype(np.float32)
    with tritonclient.http.InferenceServerClient(detector.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        name = json.loads((httpx.get(f"{detector.url}/v2/models")).text)["models"][0]
        assert client.is_model_ready(name)
        metadata = client.get_model_metadata(name)
        assert metadata["inputs"][0]["shape"] == [-1, 3, 416, 416]
        tensor = tritonclient.http.InferInput("input", list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, binary_data=binary)
        output = tritonclient.http.InferRequestedOutput("cls_32", binary_data=binary)
        answer = client.infer(name, [tensor], outputs=[output], request_id="abc")
    assert answer.get_response()["id"] == "abc"
    scores = answer.as_numpy("cls_32")
    assert scores.shape == (2, 169, 80)
    assert not np.array_equal(scores[0], scores[1])
