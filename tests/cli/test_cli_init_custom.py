"""A pipeline class around a model of one's own works as `init` writes it."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from enginecrate.builder.scaffold.pipeline_class import own_class
from enginecrate.graph.onnx.model import read_model
from enginecrate.manifest import load_manifest
from enginecrate.pipelines.base import ClassificationResult, DetectionResult, TensorsResult
from enginecrate.pipelines.contract import check_contract
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene
from tiny_models import color_classifier, constant, model, relu, save, value


def brightness(height: int | str = "h", width: int | str = "w") -> onnx.ModelProto:
    """A map of half the input's size: the mean of the channels."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ReduceMean", ["half"], ["map"], axes=[1], keepdims=1),
    ]
    shape = ["n", 1, "h2", "w2"] if isinstance(height, str) else ["n", 1, height // 2, width // 2]
    return model(nodes, [value("x", ["n", 3, height, width])], [value("map", shape)])


def detector() -> onnx.ModelProto:
    """YOLO's output for 96x96, the same for every photo: one box of class 1."""
    table = np.zeros((1, 7, 189), np.float32)
    table[0, :, 5] = (48, 48, 48, 24, 0, 0.9, 0)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zero"], ["none"]),
        helper.make_node("Reshape", ["none", "shape"], ["nothing"]),
        helper.make_node("Add", ["nothing", "table"], ["output0"]),
    ]
    constants = [
        constant("zero", np.zeros((), np.float32)),
        constant("table", table),
        constant("shape", np.array([1, 1, 1])),
    ]
    return model(nodes, [value("x", [1, 3, 96, 96])], [value("output0", [1, 7, 189])], constants)


def features() -> onnx.ModelProto:
    """Five maps: no built-in pipeline reads them."""
    node = helper.make_node("Concat", ["x", "x"], ["features"], axis=1)
    return model([node], [value("x", [1, 3, 16, 16])], [value("features", [1, 6, 16, 16])])


MODELS = {
    "classes": (color_classifier(), "classification", ClassificationResult),
    "boxes": (detector(), "detection", DetectionResult),
    "map": (brightness(), "detection", DetectionResult),
    "fixed map": (brightness(32, 48), "detection", DetectionResult),
    "maps": (features(), "image", TensorsResult),
}


def made(run, proto: onnx.ModelProto):
    """The project that `init` writes, its pipeline, and a function that runs its model."""
    save(proto, Path("model.onnx"))
    outcome = run("init", "x", "--model", "model.onnx", "--template", "custom", "--json")
    assert outcome.code == 0, outcome.err
    manifest = load_manifest(Path("x")).manifest
    assert json.loads(outcome.out)["task"] == manifest.pipeline.task
    assert manifest.pipeline.module == "pipeline:AppPipeline"
    checked = read_model(Path("x") / manifest.model.path)
    pipeline = create_pipeline(
        manifest.pipeline, checked.inputs, checked.outputs, [], Path("x")
    )  # fmt: skip
    session = onnxruntime.InferenceSession(Path("x") / manifest.model.path)
    names = [output.name for output in session.get_outputs()]
    return (
        pipeline,
        checked.inputs,
        lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True)),
    )


@pytest.mark.parametrize("kind", MODELS)
def test_the_class_keeps_the_contract_at_once(run, kind: str):
    proto, task, result = MODELS[kind]
    pipeline, inputs, outputs_of = made(run, proto)
    assert pipeline.task == task
    answer = check_contract(pipeline, encoded(scene(96, 64), "PNG"), inputs, outputs_of)
    assert isinstance(answer, result)


def test_a_map_becomes_boxes_in_pixels_of_the_photo(run):
    pipeline, _, outputs_of = made(run, brightness())
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[8:24, 16:48] = pixels[40:60, 100:120] = 255
    prepared = pipeline.prepare(encoded(pixels, "PNG"))
    answer = pipeline.finish(outputs_of(prepared.tensors), prepared.context)
    assert (answer.width, answer.height) == (128, 64)
    assert sorted(one.box for one in answer.detections) == [(16, 8, 48, 24), (100, 40, 120, 60)]
    assert [one.score for one in answer.detections] == [1, 1]
    assert {one.label for one in answer.detections} == {"class 0"}


def test_a_model_without_a_photo_gets_a_class_for_tensors(run):
    pipeline, _, _ = made(run, relu())
    assert pipeline.task == "tensors"


def test_the_app_builds_and_answers(run):
    Path("photo.png").write_bytes(encoded(scene(96, 64), "PNG"))
    made(run, brightness(32, 48))
    assert run("build", "--project", "x").code == 0
    outcome = run("predict", "photo.png", "--project", "x", "--json")
    assert outcome.code == 0
    assert "detections" in json.loads(outcome.out)["results"][0]


@pytest.mark.parametrize("name", ['a"""b', "a\\N{BULLET}", "a\nb", "{x}", "é"])
def test_names_of_tensors_cannot_leave_the_comment_that_they_are_in(name: str):
    image = TensorSpec("x", DataType.FP32, (1, 3, 8, 8))
    output = TensorSpec(name, DataType.FP32, (1, 6, 8, 8))
    _, text = own_class(PipelineSpec(task="image"), [image], [output])
    compile(text, "pipeline.py", "exec")
    assert "class AppPipeline" in text


def test_a_sample_and_a_model_still_exclude_each_other(run):
    save(relu(), Path("model.onnx"))
    outcome = run("init", "x", "--model", "model.onnx", "--sample", "detection")
    assert outcome.code == 2
    outcome = run("init", "x", "--sample", "detection", "--template", "custom")
    assert outcome.code == 2
