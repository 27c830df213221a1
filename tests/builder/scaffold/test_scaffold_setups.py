"""The set-ups of models as the field has them: one row for each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import vendor_models as vendor

from enginecrate.builder.scaffold.guess.guesses import Answers
from enginecrate.builder.scaffold.guess.setup import guess_setup
from enginecrate.builder.trial.samples import shipped_photos
from enginecrate.builder.trial.trial import try_model
from enginecrate.graph.onnx.model import read_model
from enginecrate.pipelines.base import ClassificationResult
from enginecrate.pipelines.loader import create_pipeline
from tiny_models import save

ULTRALYTICS = {
    "author": "Ultralytics", "task": "detect", "stride": "32", "batch": "1", "imgsz": "[96, 96]",
    "names": "{0: 'car', 1: 'person', 2: 'dog'}",
}  # fmt: skip
CLASSES = {"task": "classification"}
BOXES = {"task": "detection"}
IMAGE = {"task": "image"}
YOLO = {**BOXES, "decoder": "yolo", "resize": "letterbox", "std": (255,) * 3}

ROWS: dict[str, tuple[onnx.ModelProto, dict[str, Any], set[str]]] = {
    # model, expected keys, keys that are unknown
    "softmax": (vendor.classifier("Softmax"), {**CLASSES, "activation": "none"}, set()),
    "softmax that is called logits": (
        vendor.classifier("Softmax", name="logits"), {**CLASSES, "activation": "none"}, set(),
    ),
    "logits that are called probabilities": (
        vendor.classifier(name="probabilities"), {**CLASSES, "activation": "softmax"}, set(),
    ),
    "log softmax": (vendor.classifier("LogSoftmax"), {**CLASSES, "activation": "softmax"}, set()),
    "softmax in small steps": (
        vendor.written_out_softmax(), {**CLASSES, "activation": "none"}, set(),
    ),
    "several labels": (vendor.classifier("Sigmoid"), {**CLASSES, "activation": "none"}, set()),
    "1000 logits": (
        vendor.classifier(count=1000),
        {**CLASSES, "activation": "softmax", "mean": (123.675, 116.28, 103.53)}, set(),
    ),
    "512 logits or an embedding": (vendor.classifier(count=512), {}, {"task", "activation"}),
    "one number": (vendor.classifier(count=1), {}, {"task", "activation"}),
    "one score": (vendor.classifier("Sigmoid", count=1), {**CLASSES, "activation": "none"}, set()),
    "number of the class": (vendor.classifier("Tanh"), IMAGE, set()),
    "keras": (
        vendor.keras_classifier(), {**CLASSES, "layout": "nhwc", "activation": "none"}, set(),
    ),
    "scales 0..255 itself": (
        vendor.scaling_classifier(127.5, 1 / 127.5), {"mean": (0,) * 3, "std": (1,) * 3}, set(),
    ),
    "shifts 0..1 itself": (
        vendor.scaling_classifier(0.5, 2), {"mean": (0,) * 3, "std": (255,) * 3}, set(),
    ),
    "open size": (
        vendor.classifier("Softmax", shape=("n", 3, "h", "w")), {"activation": "none"}, {"size"},
    ),
    "embedding": (vendor.classifier("LpNormalization", count=128), IMAGE, set()),
    "embedding in small steps": (vendor.embedding("norm"), IMAGE, set()),
    "embedding in smaller steps": (vendor.embedding("squares"), IMAGE, set()),
    "embedding without length": (vendor.embedding("batch"), IMAGE, set()),
    "features": (vendor.embedding("pool"), IMAGE, set()),
    "yolo v8": (vendor.yolo(), {**YOLO, "decoder_options": {}}, set()),
    "yolo v8 of one class": (vendor.yolo(1), YOLO, set()),
    "yolo v8 in logits": (
        vendor.yolo(logits=True), {**YOLO, "decoder_options": {"activation": "sigmoid"}}, set(),
    ),
    "yolo v8 in parts of the picture": (
        vendor.yolo(normalised=True), {**YOLO, "decoder_options": {"normalised": True}}, set(),
    ),
    "yolo v8 with open axes": (
        vendor.yolo(symbolic=True, metadata=ULTRALYTICS), {**YOLO, "size": (96, 96)}, set(),
    ),
    "yolo v5": (vendor.yolo(objectness=True, last=True, metadata=ULTRALYTICS), YOLO, set()),
    "yolo v10": (vendor.final_boxes(), YOLO, set()),
    "yolo with nms": (
        vendor.final_boxes({**ULTRALYTICS, "args": "{'nms': True, 'half': False}"}), YOLO, set(),
    ),
    "yolo with nms that finds nothing": (
        vendor.final_boxes({**ULTRALYTICS, "args": "{'nms': True}"}, none=True),
        {**YOLO, "decoder_options": {"kind": "end2end", "channels": "last"}}, set(),
    ),
    "yolo with boxes in parts of the picture": (
        vendor.final_boxes(normalised=True), {**YOLO, "decoder_options": {"normalised": True}},
        set(),
    ),
    "ultralytics' classifier": (
        vendor.classifier("Softmax", 3, metadata={**ULTRALYTICS, "task": "classify"}),
        {**CLASSES, "activation": "none", "short_side": 96, "std": (255,) * 3}, set(),
    ),
    "all axes open": (
        vendor.classifier("Softmax", shape=("n", "c", "h", "w")),
        {**CLASSES, "layout": "nchw", "color": "rgb"}, {"size"},
    ),
    "yolo v7 end to end": (vendor.yolov7(), {**BOXES, "decoder": "yolov7"}, set()),
    "yolox": (
        vendor.yolox(), {**BOXES, "decoder": "yolox", "color": "bgr", "std": (1,) * 3}, set(),
    ),
    "key points": (vendor.yolo(1, extra=51), IMAGE, set()),
    "key points by metadata": (
        vendor.yolo(1, extra=51, metadata={**ULTRALYTICS, "task": "pose"}), IMAGE, set(),
    ),
    "rotated boxes": (vendor.yolo(extra=1), IMAGE, set()),
    "torchvision": (vendor.torchvision(), {**BOXES, "decoder": "torchvision"}, set()),
    "torchvision without a batch": (
        vendor.torchvision(single=True),
        {**BOXES, "decoder": "torchvision", "resize": "proportional", "size": None}, set(),
    ),
    "boxes, scores and labels without background": (
        vendor.torchvision(first_class=0),
        {**BOXES, "decoder": "torchvision", "decoder_options": {"label_offset": 0}}, set(),
    ),
    "detr": (
        vendor.detr(6, last=20), {**BOXES, "decoder": "detr", "decoder_options": {}}, set(),
    ),
    "detr with sigmoid": (
        vendor.detr(6, shift=-30),
        {**BOXES, "decoder": "detr", "decoder_options": {"activation": "sigmoid"}}, set(),
    ),
    "detr of either kind": (vendor.detr(6), {**BOXES, "decoder": "detr"}, {"decoder_options"}),
    "rt-detr": (
        vendor.finished_detr(),
        {**BOXES, "decoder": "detr", "constants": {"orig_target_sizes": [[96, 96]]}}, set(),
    ),
    "ssd": (
        vendor.ssd(corners=True),
        {**BOXES, "decoder": "ssd", "decoder_options": {"activation": "none"}}, set(),
    ),
    "ssd with default boxes": (vendor.ssd(corners=False), IMAGE, set()),
    "tensorflow": (
        vendor.tensorflow_detector(),
        {**BOXES, "decoder": "ssd", "layout": "nhwc", "decoder_options": {"box_format": "yxyx"}},
        {"size"},
    ),
    "plugin": (vendor.plugin_detector(), {**BOXES, "decoder": "efficientnms"}, set()),
    "characters": (vendor.sequence(), IMAGE, set()),
    "characters, steps first": (vendor.sequence(batch_first=False), IMAGE, set()),
    "characters in logits": (vendor.sequence(""), IMAGE, set()),
    "characters of six kinds": (vendor.sequence("Softmax", count=6), IMAGE, set()),
    "segmentation": (vendor.maps("segmentation"), IMAGE, set()),
    "classes of pixels": (vendor.maps("classes"), IMAGE, set()),
    "depth": (vendor.maps("depth"), IMAGE, set()),
    "super-resolution": (vendor.maps("superresolution"), {**IMAGE, "color": "gray"}, set()),
    "a map of scores": (vendor.maps("sigmoid"), IMAGE, set()),
    "landmarks": (vendor.landmarks(136, scaled=False), {}, {"task"}),
    "coordinates": (vendor.measurements(), {}, {"task", "activation"}),
    "landmarks in 0..1": (vendor.landmarks(136, scaled=True), {}, {"task"}),
    "two heads": (vendor.two_heads(), IMAGE, set()),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_setups(row: str, tmp_path: Path):
    proto, expected, unknown = ROWS[row]
    checked = read_model(save(proto, tmp_path / "model.onnx"))
    setup = guess_setup(checked, Answers())
    assert {key: getattr(setup.spec, key) for key in expected} == expected
    assert {guess.key for guess in setup.unknown} == unknown
    if not unknown and row != "plugin":
        assert try_model(checked, setup.spec).faults == ()


def softmax(numbers: np.ndarray) -> np.ndarray:
    powers = np.exp(numbers - numbers.max())
    return powers / powers.sum()


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ("softmax", lambda row: row),
        ("softmax that is called logits", lambda row: row),
        ("softmax in small steps", lambda row: row),
        ("several labels", lambda row: row),
        ("logits that are called probabilities", softmax),
        ("log softmax", np.exp),
    ],
)
def test_scores_equal_those_of_a_plain_run(
    row: str, right: Callable[[np.ndarray], np.ndarray], tmp_path: Path
):
    path = save(ROWS[row][0], tmp_path / "model.onnx")
    checked = read_model(path)
    spec = guess_setup(checked, Answers()).spec
    pipeline = create_pipeline(spec, checked.inputs, checked.outputs, [], tmp_path)
    session = onnxruntime.InferenceSession(path)
    for photo in shipped_photos():
        prepared = pipeline.prepare(photo.payload)
        (raw,) = session.run(None, dict(prepared.tensors))
        expected = right(raw[0].astype(np.float64))
        answer = pipeline.finish({checked.outputs[0].name: raw}, prepared.context)
        assert isinstance(answer, ClassificationResult)
        best = np.argsort(-expected, kind="stable")[:5]
        assert [one.class_id for one in answer.classes] == best.tolist()
        assert np.allclose([one.score for one in answer.classes], expected[best], atol=1e-6)


def test_metadata_alone_does_not_make_a_detector(tmp_path: Path):
    """Texts may be left over from another export: the outputs decide."""
    proto = vendor.classifier("Softmax", count=3)
    onnx.helper.set_model_props(proto, ULTRALYTICS)
    setup = guess_setup(read_model(save(proto, tmp_path / "model.onnx")), Answers())
    assert (setup.spec.task, setup.spec.activation) == ("classification", "none")
    assert setup.labels == ("car", "person", "dog")


def test_what_the_user_says_wins(tmp_path: Path):
    checked = read_model(save(vendor.yolo(), tmp_path / "model.onnx"))
    spec = guess_setup(checked, Answers(activation="sigmoid")).spec
    assert spec.decoder_options == {"activation": "sigmoid"}
    spec = guess_setup(checked, Answers(task="image")).spec
    assert (spec.task, spec.decoder) == ("image", None)
    checked = read_model(save(vendor.plugin_detector(), tmp_path / "plugin.onnx"))
    assert guess_setup(checked, Answers(decoder="ssd")).spec.decoder == "ssd"


def test_an_objectness_that_nothing_tells_is_asked(tmp_path: Path):
    """A row for each cell: the fifth number may be an objectness, or the first class."""
    proto = vendor.yolo(7, last=True)
    checked = read_model(save(proto, tmp_path / "model.onnx"))
    setup = guess_setup(checked, Answers())
    assert [(one.key, one.flag) for one in setup.unknown] == [("decoder_options", "--labels FILE")]
    for labels, kind in ((7, "plain"), (6, "objectness")):
        setup = guess_setup(checked, Answers(labels=labels))
        assert setup.unknown == ()
        assert setup.spec.decoder_options == {"kind": kind, "channels": "last"}


def test_a_size_that_the_layers_fix_is_found(tmp_path: Path):
    parts = vendor.Parts()
    x = parts.op(
        "AveragePool", vendor.photo(parts, 1, 3, "h", "w"), kernel_shape=[16, 16], strides=[16, 16]
    )
    flat = parts.op("Flatten", x)
    weight = parts.number(parts.rng.standard_normal((3 * 7 * 7, 10)))
    parts.output("y", parts.op("Softmax", parts.op("MatMul", flat, weight)), [1, 10])
    setup = guess_setup(read_model(save(parts.proto(), tmp_path / "model.onnx")), Answers())
    size = next(one for one in setup.guesses if one.key == "size")
    assert (size.value, size.certainty) == ((112, 112), "likely")


def test_inputs_beside_the_picture(tmp_path: Path):
    parts = vendor.Parts()
    features = parts.features(vendor.photo(parts))
    factor = parts.input("scale_factor", [1, 2])
    limit = parts.input("limit", [1])
    row = parts.op("Mul", parts.op("ReduceSum", factor), parts.op("Mul", features, limit))
    parts.output("y", parts.op("Reshape", row, parts.number([1, 2, 4], np.int64)), [1, 2, 4])
    checked = read_model(save(parts.proto(), tmp_path / "model.onnx"))
    setup = guess_setup(checked, Answers())
    assert [(one.key, one.flag) for one in setup.unknown] == [
        ("constants", "--constant limit=VALUE")
    ]
    setup = guess_setup(checked, Answers(constants={"limit": [0.5]}))
    assert setup.unknown == ()
    assert setup.spec.task == "image"
    assert setup.spec.input == "images"
    assert setup.spec.constants == {"scale_factor": [[1.0, 1.0]], "limit": [0.5]}


def test_names_that_are_not_as_many_as_the_classes_are_left_out(tmp_path: Path):
    proto = vendor.classifier("Softmax", count=5)
    onnx.helper.set_model_props(proto, ULTRALYTICS)
    setup = guess_setup(read_model(save(proto, tmp_path / "model.onnx")), Answers())
    assert setup.labels == ()
    assert "3 names in the model's metadata (names) are not used" in setup.labels_reason
