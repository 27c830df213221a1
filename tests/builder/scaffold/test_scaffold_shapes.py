"""Set-ups that are guessed from the names and shapes of inputs and outputs, without a run."""

from pathlib import Path

import pytest

from enginecrate.builder.scaffold.guess.evidence import Evidence, Observation
from enginecrate.builder.scaffold.guess.guesses import Answers, Setup
from enginecrate.builder.scaffold.guess.setup import guess_from
from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import DataType, TensorSpec


def tensor(name: str, *shape: int, datatype: DataType = DataType.FP32) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


def image(*shape: int, datatype: DataType = DataType.FP32) -> list[TensorSpec]:
    return [tensor("image", *shape, datatype=datatype)]


def guess(inputs: list[TensorSpec], outputs: list[TensorSpec], task: str | None = None) -> Setup:
    return guess_from(Evidence(inputs, outputs), Answers(task=task), lambda spec: Observation())


def nanodet(side: int) -> list[TensorSpec]:
    return [
        tensor(f"{name}_{stride}", -1, (side // stride) ** 2, channels)
        for name, channels in (("cls", 80), ("reg", 44))
        for stride in (8, 16, 32)
    ]


BYTES = {"datatype": DataType.UINT8}
IMAGENET = (123.675, 116.28, 103.53)
DETR = [tensor("logits", 1, 100, 92), tensor("pred_boxes", 1, 100, 4)]
RTDETR = [tensor("logits", 1, 300, 80), tensor("pred_boxes", 1, 300, 4)]
SSD = [tensor("scores", 1, 8732, 81), tensor("boxes", 1, 8732, 4)]

CASES = {
    "classifier": (
        image(-1, 3, 224, 224),
        [tensor("y", -1, 1000)],
        {"task": "classification", "short_side": 256, "mean": IMAGENET, "activation": "softmax"},
    ),
    "packed classifier": (
        image(-1, 299, 299, 3),
        [tensor("Softmax", -1, 1001)],
        {"task": "classification", "layout": "nhwc", "short_side": 342},
    ),
    "open size": (
        image(-1, 3, -1, -1),
        [tensor("y", -1, 10)],
        {"task": "classification", "size": (224, 224), "short_side": 256},
    ),
    "bytes": (
        image(1, 224, 224, 3, **BYTES),
        [tensor("y", 1, 1001)],
        {"task": "classification", "mean": (0, 0, 0), "std": (1, 1, 1)},
    ),
    "digits": (
        image(-1, 1, 28, 28),
        [tensor("y", -1, 10)],
        {"task": "classification", "color": "gray", "std": (255,)},
    ),
    "one class": (
        image(-1, 3, 64, 64),
        [tensor("y", -1, 1)],
        {"task": "classification", "activation": "sigmoid"},
    ),
    "nanodet": (
        image(-1, 3, 416, 416),
        nanodet(416),
        {"task": "detection", "decoder": "nanodet", "color": "bgr", "resize": "stretch"},
    ),
    "nanodet of open size": (
        image(-1, 3, -1, -1),
        nanodet(320),
        {"task": "detection", "decoder": "nanodet", "size": (320, 320)},
    ),
    "yolo v8": (
        image(-1, 3, 640, 640),
        [tensor("output0", -1, 84, 8400)],
        {"task": "detection", "decoder": "yolo", "resize": "letterbox", "std": (255,) * 3},
    ),
    "yolo v8, open size": (
        image(-1, 3, -1, -1),
        [tensor("output0", -1, 84, 2100)],
        {"task": "detection", "decoder": "yolo", "size": (320, 320)},
    ),
    "yolo v8, all open": (
        image(-1, 3, -1, -1),
        [tensor("output0", -1, 84, -1)],
        {"task": "detection", "decoder": "yolo", "size": (640, 640)},
    ),
    "yolo v5": (
        image(-1, 3, 640, 640),
        [tensor("output0", -1, 25200, 85)],
        {"task": "detection", "decoder": "yolo"},
    ),
    "yolo v5, all open": (
        image(-1, 3, -1, -1),
        [tensor("output0", -1, -1, 85)],
        {"decoder": "yolo", "decoder_options": {"kind": "objectness", "channels": "last"}},
    ),
    "yolo v10": (
        image(1, 3, 640, 640),
        [tensor("output0", 1, 300, 6)],
        {"task": "detection", "decoder": "yolo"},
    ),
    "detr": (
        image(1, 3, 800, 800),
        DETR,
        {"task": "detection", "decoder": "detr", "mean": IMAGENET, "decoder_options": {}},
    ),
    "rt-detr": (
        image(1, 3, 640, 640),
        RTDETR,
        {"task": "detection", "decoder": "detr", "decoder_options": {"activation": "sigmoid"}},
    ),
    "ssd": (image(1, 3, 300, 300), SSD, {"task": "detection", "decoder": "ssd"}),
    "ssd with suppression": (
        image(1, 3, 300, 300),
        [tensor("detection_out", 1, 1, -1, 7)],
        {"task": "detection", "decoder": "ssd"},
    ),
    "text": (
        [tensor("ids", -1, -1, datatype=DataType.INT64)],
        [tensor("y", -1, 2)],
        {"task": "tensors"},
    ),
    "two inputs": (
        [*image(1, 3, 800, 800), tensor("mask", 1, 800, 800)],
        DETR,
        {"task": "tensors"},
    ),
    "segmentation": (image(1, 3, 64, 64), [tensor("y", 1, 21, 64, 64)], {"task": "image"}),
    "two rows": (
        image(1, 3, 64, 64),
        [tensor("a", 1, 21), tensor("b", 1, 5)],
        {"task": "image"},
    ),
    "fixed batch": (image(4, 3, 64, 64), [tensor("y", 4, 10)], {"task": "tensors"}),
    "features": (image(1, 3, 64, 64), [tensor("y", 1, 50, 64)], {"task": "image"}),
    "many channels": (image(1, 12, 64, 64), [tensor("y", 1, 5)], {"task": "tensors"}),
    "integers": (
        image(1, 3, 64, 64, datatype=DataType.INT64),
        [tensor("y", 1, 5)],
        {"task": "tensors"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_guesses(case: str, tmp_path: Path):
    inputs, outputs, expected = CASES[case]
    setup = guess(inputs, outputs)
    found = {key: getattr(setup.spec, key) for key in expected}
    assert found == expected
    assert setup.guesses[0].key == "task"
    # What is guessed must be a pipeline that works.
    assert create_pipeline(setup.spec, inputs, outputs, [], tmp_path).task == setup.spec.task


def test_what_is_assumed_is_said():
    inputs, outputs, _ = CASES["yolo v8, open size"]
    words = "\n".join(guess(inputs, outputs).reasons)
    assert "size = [320, 320] (likely): this size gives the model's number of boxes" in words
    assert "std = [255.0, 255.0, 255.0] (likely)" in words
    assert 'resize = "letterbox" (likely): the custom for yolo' in words


@pytest.mark.parametrize("case", ["open size", "yolo v8, all open"])
def test_a_size_that_nothing_tells_is_unknown(case: str):
    inputs, outputs, _ = CASES[case]
    assert [one.key for one in guess(inputs, outputs).unknown] == ["size"]


def test_the_task_may_be_given():
    inputs, outputs, _ = CASES["classifier"]
    assert guess(inputs, outputs, "tensors").spec.task == "tensors"
    assert guess(inputs, outputs, "image").spec.task == "image"
    assert guess(inputs, outputs, "classification").spec.task == "classification"
    with pytest.raises(PipelineInvalid, match=r"'detection' does not fit .*y FP32 \[-1,1000\]"):
        guess(inputs, outputs, "detection")
    with pytest.raises(PipelineInvalid, match="not an image"):
        guess([tensor("x", -1, 5)], outputs, "classification")
