"""Apps without golden samples are tried before they serve; no batch that spoils answers forms."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper
from tiny_projects import npz, scale_model, write_golden, write_project

from pictures import encoded, scene

PHOTO = encoded(scene(), "PNG")


def first_only(shape: list, factor: float = 2.0) -> onnx.ModelProto:
    """`y` = `factor` x `x` for the first of a batch; zeros for the others."""
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "zero"], ["size"]),
            helper.make_node("Range", ["zero", "size", "one"], ["places"]),
            helper.make_node("Equal", ["places", "zero"], ["first"]),
            helper.make_node("Cast", ["first"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "axis"], ["column"]),
            helper.make_node("Mul", ["x", "column"], ["kept"]),
            helper.make_node("Mul", ["kept", "factor"], ["y"]),
        ],
        "first",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *shape])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("one", TensorProto.INT64, [], [1]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def logits(scale: float) -> onnx.ModelProto:
    """A photo's mean colours times `scale`, as the numbers of three classes."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["y"]),
        ],
        "logits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("scale", TensorProto.FLOAT, [], [scale])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def classifier(folder: Path, model: onnx.ModelProto, keys: str = "") -> Path:
    project = write_project(folder, model)
    manifest = project / "enginecrate.toml"
    text = manifest.read_text().replace('task = "tensors"', f'task = "classification"\n{keys}')
    manifest.write_text(text)
    return project


def test_an_app_whose_every_answer_is_an_error_is_never_ready(launch, tmp_path):
    project = classifier(tmp_path / "project", logits(float("nan")))
    server = launch(project, ready=False)
    record = server.wait_for_log(lambda record: record["message"].startswith("never ready"))
    assert "astronaut.jpg: the model's output 'y' holds numbers" in record["message"]
    with server.client() as client:
        ready = client.get("/v2/health/ready")
        status = client.get("/v1/status").json()
        metrics = client.get("/metrics").text
    assert (ready.status_code, ready.json()["state"]) == (503, "failed")
    assert "not finite" in ready.json()["reason"]
    assert "golden samples of its own kind" in ready.json()["reason"]
    assert (status["state"], status["golden"]["state"]) == ("failed", "unproven")
    assert [one["name"] for one in status["trial"]["findings"]] == ["error", "error"]
    line = next(line for line in metrics.splitlines() if 'reason="trial"' in line)
    assert line.startswith("enginecrate_ladder_failures_total{")
    assert float(line.split()[-1]) == 1
    assert server.stop() == 0


def test_an_app_without_golden_samples_is_tried(launch, tmp_path):
    server = launch(classifier(tmp_path / "project", logits(0.01)))
    record = server.wait_for_log(lambda record: record["message"].startswith("tried in"))
    assert record["samples"] == ["astronaut.jpg", "chelsea.jpg"]
    with server.client() as client:
        status = client.get("/v1/status").json()
        answer = client.post("/v1/predict", content=PHOTO, headers={"content-type": "image/png"})
    assert (status["state"], status["golden"]["state"]) == ("ready", "unproven")
    assert status["trial"]["findings"] == []
    assert status["requests"]["executions"] == 0  # the trial is not counted
    assert answer.status_code == 200


def test_a_class_of_ones_own_is_tried_too(launch, tmp_path):
    project = classifier(tmp_path / "project", logits(1), 'module = "own:Own"')
    (project / "own.py").write_text(
        "from enginecrate.pipelines.base import Prepared\n"
        "class Own:\n"
        "    task = 'classification'\n"
        "    def __init__(self, spec, inputs, outputs, labels, limits): pass\n"
        "    def prepare(self, payload): return {}['size']\n"
        "    def finish(self, outputs, context): pass\n"
    )
    server = launch(project, ready=False)
    record = server.wait_for_log(lambda record: record["message"].startswith("never ready"))
    assert "astronaut.jpg: KeyError: 'size'" in record["message"]


def answers(client: httpx.Client, payloads: list[bytes]) -> list[list[float]]:
    """The numbers that sixteen clients get at once."""

    def ask(payload: bytes) -> list[float]:
        found = client.post("/v1/predict", content=payload).json()
        return [float(value) for value in found["results"][0]["outputs"][0]["data"]]

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask, payloads))


def check_one_by_one(server, factor: float) -> None:
    inputs = [np.full((1, 4), number, np.float32) for number in range(1, 81)]
    with server.client() as client:
        found = answers(client, [npz(x=array) for array in inputs])
        config = client.get("/v2/models/tiny/config").json()
        status = client.get("/v1/status").json()
    assert found == [[factor * array[0, 0]] * 4 for array in inputs]
    assert config["max_batch_size"] == 1
    assert "dynamic_batching" not in config
    assert "at place 2" in config["parameters"]["one_by_one"]["string_value"]
    assert "one by one" in status["engine"]["one_by_one"]
    assert status["requests"]["success"] == status["requests"]["executions"] == len(inputs)


def test_a_plan_that_is_right_for_the_first_only_is_served_one_by_one(launch, tmp_path):
    project = write_project(tmp_path / "project", first_only([4]))
    server = launch(project)
    record = server.wait_for_log(lambda record: "one by one" in record["message"])
    assert record["level"] == "warning"
    check_one_by_one(server, 2)
    assert server.stop() == 0
    again = launch(project)  # the plan's sidecar says it now
    again.wait_for_log(lambda record: "one by one" in record["message"])
    check_one_by_one(again, 2)


def test_golden_samples_make_the_batches(launch, tmp_path):
    project = write_project(tmp_path / "project", first_only([4], 2.5))
    found = {
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2.5, 5, 7.5, 10]}]
    }
    write_golden(project, npz(x=np.array([[1, 2, 3, 4]], np.float32)), found)
    server = launch(project)
    record = server.wait_for_log(lambda record: "one by one" in record["message"])
    assert "sample.npz" in record["message"]
    check_one_by_one(server, 2.5)


def test_a_plan_that_takes_batches_forms_them(launch, tmp_path):
    server = launch(write_project(tmp_path / "project", scale_model()))
    with server.client() as client:
        config = client.get("/v2/models/tiny/config").json()
    assert config["max_batch_size"] == 32
    assert "one_by_one" not in config["parameters"]
