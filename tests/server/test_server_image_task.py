"""Task `image`: photos in, tensors out, through a real server and the commands around it."""

import io
import json
import subprocess

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper

from doubler_project import image_project
from enginecrate.pipelines.base import TensorsResult
from enginecrate.pipelines.tensors import tensor_result
from enginecrate.server.api.npz_answer import encode_npz
from enginecrate.values import DataType, TensorSpec
from pictures import encoded, noise, scene
from running import PROGRAM, clean_environment
from tiny_models import constant, model, save, value

PIXELS = scene(96, 32)
PHOTO = encoded(PIXELS, "PNG")
JPEG = {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = image_project(tmp_path_factory.mktemp("image") / "means")
    for name, pixels in {"one": PIXELS, "two": noise(50, 40)}.items():
        (folder / f"{name}.png").write_bytes(encoded(pixels, "PNG"))
    record = [PROGRAM, "golden", "record", "one.png", "two.png"]
    subprocess.run(record, cwd=folder, check=True, capture_output=True, env=clean_environment())
    return folder


@pytest.fixture(scope="module")
def server(project, session_launcher):
    return session_launcher(project)


def expected() -> np.ndarray:
    """The model's input by hand: half the size, grey borders above and below."""
    small = PIXELS.reshape(16, 2, 48, 2, 3).mean(axis=(1, 3))
    canvas = np.full((32, 48, 3), 114.0)
    canvas[8:24] = small
    return canvas


def test_the_answer_holds_the_tensors_and_the_place_of_the_photo(server):
    answer = httpx.post(f"{server.url}/v1/predict", content=PHOTO, headers=JPEG).json()
    (result,) = answer["results"]
    means, small = result["outputs"]
    assert (means["name"], means["datatype"], means["shape"]) == ("means", "FP32", [1, 3])
    assert means["data"] == pytest.approx((2 * expected().mean(axis=(0, 1))).tolist(), abs=0.6)
    assert small["shape"] == [1, 3, 16, 24]
    assert result["image"] == {
        "width": 96, "height": 32, "scale": [0.5, 0.5], "offset": [0.0, 8.0]
    }  # fmt: skip


def test_the_same_numbers_as_an_npz_archive(server):
    plain = httpx.post(f"{server.url}/v1/predict", content=PHOTO, headers=JPEG).json()
    answer = httpx.post(
        f"{server.url}/v1/predict",
        content=PHOTO,
        headers=JPEG | {"accept": "application/x-npz, application/json;q=0.5"},
    )
    assert answer.headers["content-type"] == "application/x-npz"
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert list(arrays) == ["means", "small"]
        for output in plain["results"][0]["outputs"]:
            array = arrays[output["name"]]
            assert array.dtype == np.float32
            assert array.shape == tuple(output["shape"])
            assert array.ravel().tolist() == output["data"]


def test_several_photos_are_several_results_but_no_archive(server):
    files = [("image", ("a.png", PHOTO)), ("image", ("b.png", encoded(noise(30, 60), "PNG")))]
    answer = httpx.post(f"{server.url}/v1/predict", files=files)
    sizes = [(one["image"]["width"], one["image"]["height"]) for one in answer.json()["results"]]
    assert sizes == [(96, 32), (30, 60)]
    headers = {"accept": "application/x-npz"}
    refused = httpx.post(f"{server.url}/v1/predict", files=files, headers=headers)
    assert refused.status_code == 400
    assert "one image" in refused.json()["detail"]


def test_it_cannot_be_drawn(server):
    address = f"{server.url}/v1/predict?annotate=1"
    refused = httpx.post(address, content=PHOTO, headers=JPEG)
    assert refused.status_code == 400
    assert "answers tensors" in refused.json()["detail"]


def test_an_app_of_boxes_has_no_archive(sample_server, photo):
    refused = httpx.post(
        f"{sample_server.url}/v1/predict",
        content=photo("astronaut.png"),
        headers=JPEG | {"accept": "application/x-npz"},
    )
    assert refused.status_code == 400
    assert "accept application/json" in refused.json()["detail"]


def test_readiness_is_proven_and_the_document_shows_tensors(server):
    status = httpx.get(f"{server.url}/v1/status").json()
    assert status["ready"] is True
    assert status["golden"]["passed"] == 2
    assert status["task"] == "image"
    post = httpx.get(f"{server.url}/openapi.json").json()["paths"]["/v1/predict"]["post"]
    examples = post["responses"]["200"]["content"]["application/json"]["examples"]
    assert list(examples) == ["image"]


def test_predict_here_and_from_the_server_agree(project, server):
    answers = []
    for flags in (["--project", project], ["--url", server.url]):
        command = [PROGRAM, "predict", "one.png", "--json", *flags]
        done = subprocess.run(
            command, cwd=project, check=True, capture_output=True, env=clean_environment()
        )
        answers.append(json.loads(done.stdout)["results"][0])
    assert answers[0] == answers[1]
    assert set(answers[0]) == {"input", "outputs", "image"}


def test_build_proves_it_and_compares_fp16_with_the_model_as_given(project):
    folder = project / "calibration"
    folder.mkdir(exist_ok=True)
    for index in range(6):
        (folder / f"{index}.png").write_bytes(encoded(noise(40 + index, 30), "PNG"))
    manifest = project / "enginecrate.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(
        text + '\n[precision]\nmode = "fp16"\naccuracy = { images = "calibration/" }\n',
        encoding="utf-8",
    )
    try:
        done = subprocess.run(
            [PROGRAM, "build", "--json"],
            cwd=project,
            check=False,
            capture_output=True,
            env=clean_environment(),
        )
    finally:
        manifest.write_text(text, encoding="utf-8")
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "proven"
    (target,) = answer["result"]["targets"]
    agreement = target["evaluation"]["agreement"]
    assert (agreement["name"], agreement["value"], agreement["n"]) == ("samples that agree", 1, 8)


def test_a_build_without_samples_keeps_the_constants(tmp_path):
    """Whole numbers are divided by the constant: made-up zeros would end the process."""
    folder = image_project(tmp_path / "means")
    divided = model(
        [
            helper.make_node("Div", ["six", "count"], ["share"]),
            helper.make_node("Cast", ["share"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["photo", "factor"], ["out"]),
        ],
        [value("photo", [1, 3, 8, 8]), value("count", [1], TensorProto.INT64)],
        [value("out", [1, 3, 8, 8])],
        [constant("six", np.array([6]))],
    )
    save(divided, folder / "models" / "means.onnx")
    manifest = folder / "enginecrate.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("factor = 2.0", "count = 3"), encoding="utf-8")
    command = [PROGRAM, "build", "--json"]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["verdict"] == "unproven"


@pytest.mark.parametrize(
    ("datatype", "array", "loaded"),
    [
        (
            DataType.BYTES,
            np.array([["é".encode(), b"b"]], object),
            np.array([["é".encode(), b"b"]]),
        ),
        (DataType.BOOL, np.array([True, False]), np.array([True, False])),
        (DataType.INT64, np.array([[2**62]]), np.array([[2**62]])),
        (DataType.FP32, np.array([np.nan, np.inf], np.float32), np.float32([np.nan, np.inf])),
        (DataType.FP16, np.zeros((0, 4), np.float16), np.zeros((0, 4), np.float16)),
    ],
)
@pytest.mark.parametrize("name", ["file", "a/b:0", "arr_0"])
def test_every_datatype_and_name_survives_the_archive(datatype, array, loaded, name):
    result = TensorsResult([tensor_result(TensorSpec(name, datatype, array.shape), array)])
    with np.load(io.BytesIO(encode_npz(result)), allow_pickle=False) as arrays:
        assert list(arrays) == [name]
        assert arrays[name].dtype == loaded.dtype
        np.testing.assert_array_equal(arrays[name], loaded)
