"""`POST /v1/predict` against real servers: photos through the sample detector, and tensors."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from PIL import Image

from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.pipelines.base import DetectionResult
from enginecrate.settings import load_settings

DETECTION = Path(__file__).parents[2] / "samples" / "detection"


@pytest.fixture
def client(sample_server):
    with sample_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def predictor(session_launcher):
    settings = load_settings(
        environment={}, flags={"cache_dir": str(session_launcher.folder / "cache")}
    )
    predictor = open_predictor(DETECTION, settings)
    yield predictor
    predictor.close()


def labels(answer) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return {found["label"]: found["score"] for found in result["detections"]}


@pytest.mark.parametrize(
    ("name", "label"),
    [("astronaut.png", "person"), ("camera.png", "person"), ("coffee.png", "cup")],
)  # fmt: skip
def test_photos_are_recognised(client, photo, name, label):
    found = labels(client.post("/v1/predict", content=photo(name)))
    assert found[label] >= (0.6 if name == "astronaut.png" else 0.4)


def test_the_answer_has_all_fields(client, photo):
    answer = client.post(
        "/v1/predict",
        content=photo("astronaut.png"),
        headers={"content-type": "image/png", "x-request-id": "abc-1"},
    )
    body = answer.json()
    assert list(body) == [
        "model", "version", "request_id", "engine", "results", "timing_ms"
    ]  # fmt: skip
    assert body["model"] == "photo-detector"
    assert body["version"] == "1.0.0"
    assert body["request_id"] == answer.headers["x-request-id"] == "abc-1"
    plan = body["engine"].pop("plan")
    assert re.fullmatch(r"[0-9a-f]{12}", plan)
    assert body["engine"] == {"backend": "onnxruntime", "precision": "fp32", "device": "cpu"}
    result = body["results"][0]
    assert (result["width"], result["height"]) == (512, 512)
    timing = body["timing_ms"]
    assert list(timing) == ["decode", "queue", "compute", "postprocess", "total"]
    assert min(timing.values()) >= 0
    parts = timing["decode"] + timing["queue"] + timing["compute"] + timing["postprocess"]
    assert parts <= timing["total"]


def test_the_same_photo_gives_the_same_boxes_by_every_way(client, photo, predictor, sample_server):
    """In this process, as an HTTP body, and as v2 tensors that the client prepared."""
    data = photo("astronaut.png")
    here = predictor.predict(data)
    there = client.post("/v1/predict", content=data).json()["results"][0]
    triton = tritonclient.http.InferenceServerClient(f"127.0.0.1:{sample_server.port}")
    prepared = predictor.pipeline.prepare(data)
    tensor = tritonclient.http.InferInput("input", list(prepared.tensors["input"].shape), "FP32")
    tensor.set_data_from_numpy(prepared.tensors["input"])
    result = triton.infer("photo-detector", [tensor])
    triton.close()
    outputs = {spec.name: result.as_numpy(spec.name) for spec in predictor.engine.outputs}
    by_tensors = predictor.pipeline.finish(outputs, prepared.context)
    assert isinstance(here, DetectionResult)
    assert here.detections
    assert isinstance(by_tensors, DetectionResult)
    for other in (there["detections"], [msg(found) for found in by_tensors.detections]):
        assert [found["label"] for found in other] == [found.label for found in here.detections]
        for found, expected in zip(other, here.detections, strict=True):
            np.testing.assert_allclose(found["box"], expected.box, atol=1.0)
            assert found["score"] == pytest.approx(expected.score, abs=0.01)


def msg(found) -> dict:
    return {"label": found.label, "score": found.score, "box": found.box}


@pytest.mark.parametrize(
    "content_type", [None, "image/png", "image/jpeg", "application/octet-stream",
                     "application/x-www-form-urlencoded", "IMAGE/PNG; charset=binary"]
)  # fmt: skip
def test_a_raw_body_is_judged_by_its_bytes(client, photo, content_type):
    headers = {"content-type": content_type} if content_type else {}
    assert "person" in labels(
        client.post("/v1/predict", content=photo("astronaut.png"), headers=headers)
    )


def test_many_files_in_one_request_are_answered_in_order(client, photo):
    names = ["astronaut.png", "coffee.png", "camera.png", "astronaut.png"]
    files = [("photo", (name, photo(name), "image/png")) for name in names]
    answer = client.post(
        "/v1/predict", files=files, data={"comment": "a text field is passed over"}
    )
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    found = [{one["label"] for one in result["detections"]} for result in results]
    assert "person" in found[0]
    assert "cup" in found[1]
    assert "person" in found[2]
    assert results[3]["detections"] == results[0]["detections"]
    assert (results[1]["width"], results[1]["height"]) == (600, 400)


def test_a_part_without_a_file_name_counts_by_its_type(client, photo):
    body = (
        b'--b\r\nContent-Disposition: form-data; name="x"\r\nContent-Type: image/png\r\n\r\n'
        + photo("astronaut.png")
        + b"\r\n--b--\r\n"
    )
    answer = client.post(
        "/v1/predict", content=body, headers={"content-type": 'multipart/form-data; boundary="b"'}
    )
    assert "person" in labels(answer)


def test_a_data_url(client, photo):
    url = "data:image/png;base64," + base64.b64encode(photo("astronaut.png")).decode()
    assert "person" in labels(client.post("/v1/predict", json={"image_url": url}))
    marked = b'\xef\xbb\xbf{"image_url": "%s"}' % url.encode()
    headers = {"content-type": "application/json"}
    assert "person" in labels(client.post("/v1/predict", content=marked, headers=headers))


def test_one_bad_file_among_many_is_named(client, photo):
    files = [("a", ("a.png", photo("camera.png"))), ("b", ("b.png", b"not an image"))]
    answer = client.post("/v1/predict", files=files)
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith("image 2 of 2: ")


def test_a_picture_with_the_boxes_drawn_in(client, photo):
    data = photo("astronaut.png")
    answer = client.post("/v1/predict?annotate=1", content=data)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-request-id"]
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), np.int16)
    original = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
    assert picture.shape == original.shape
    changed = (np.abs(picture - original).max(axis=2) > 8).mean()
    assert 0.001 < changed < 0.5


def test_pictures_are_drawn_for_one_image_only(client, photo):
    files = [("a", ("a.png", photo("camera.png")))] * 2
    answer = client.post("/v1/predict?annotate=1", files=files)
    assert answer.status_code == 400
    assert "2 images were sent" in answer.json()["detail"]


def test_too_many_files(launch, photo, sample_server):
    del sample_server  # its plan is in the cache then
    server = launch(DETECTION, max_images=2)
    files = [("a", ("a.png", photo("camera.png")))] * 3
    with server.client() as client:
        answer = client.post("/v1/predict", files=files)
        assert answer.status_code == 400
        assert "more than 2 images (setting max_images)" in answer.json()["detail"]
        assert client.post("/v1/predict", files=files[:2]).status_code == 200


def test_tensors_as_an_npz_archive(tiny_server):
    arrays = {
        "FP32": np.array([[1, 2, 3]], np.float32),
        "FP16": np.zeros((1, 3), np.float16),
        "INT64": np.zeros((1, 3), np.int64),
        "UINT8": np.zeros((1, 3), np.uint8),
        "BOOL": np.zeros((1, 3), bool),
        "BYTES": np.array([["a", "b", "c"]]),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    with tiny_server.client() as client:
        answer = client.post("/v1/predict", content=file.getvalue())
        assert answer.status_code == 200, answer.text
        outputs = {output["name"]: output for output in answer.json()["results"][0]["outputs"]}
        assert outputs["double"]["data"] == [2.0, 4.0, 6.0]
        assert outputs["out_BYTES"]["data"] == ["a", "b", "c"]
        picture = client.post("/v1/predict?annotate=1", content=file.getvalue())
        assert picture.status_code == 400
        assert "answers tensors" in picture.json()["detail"]
        refused = client.post("/v1/predict", content=b"no archive")
        assert 400 <= refused.status_code < 500


def test_the_status_shows_what_was_done(client, photo):
    before = client.get("/v1/status").json()
    client.post("/v1/predict", content=photo("astronaut.png"))
    client.post("/v1/predict", content=b"\xff\xd8 no photo")
    after = client.get("/v1/status").json()
    assert after["requests"]["success"] - before["requests"]["success"] == 1
    assert after["requests"]["failed"]["OTHER"] - before["requests"]["failed"]["OTHER"] == 1
    assert after["golden"]["state"] == "passed"
    assert after["golden"]["samples"] == after["golden"]["passed"] > 0
    assert after["engine"]["backend"] == "onnxruntime"
    assert after["pipeline"]["labels"] == 80
    assert after["latency_ms"]["p50"] <= after["latency_ms"]["p95"]
    assert after["state"] == "ready"


def test_each_inference_is_logged(client, photo, sample_server):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.post(
        "/v1/predict?secret=hunter2", content=photo("camera.png"),
        headers={"x-request-id": "logged-1", "traceparent": trace, "authorization": "hunter2"},
    )  # fmt: skip
    record = sample_server.wait_for_log(lambda record: record.get("request_id") == "logged-1")
    assert record["message"].startswith("POST /v1/predict 200 in ")
    assert record["level"] == "info"
    assert (record["model"], record["version"]) == ("photo-detector", "1.0.0")
    assert (record["protocol"], record["status"], record["batch"]) == ("http", 200, 1)
    assert record["compute_us"] > record["queue_us"] >= 0
    assert record["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert record["span_id"] == "b7ad6b7169203331"
    assert "hunter2" not in sample_server.log.read_text()
