"""Heads of detectors: which decoder reads them, and with which options.

A form is recognised by the shapes at run time; then the numbers must be those of boxes and scores,
since key points, masks and sequences have such shapes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from enginecrate.builder.scaffold.guess.evidence import Evidence, Output
from enginecrate.builder.scaffold.guess.guesses import Answers, Certainty
from enginecrate.builder.scaffold.guess.scene import (
    CLOSE,
    Boxes,
    Scene,
    inside,
    normalised,
    whole,
)
from enginecrate.builder.scaffold.guess.yolo_rows import find_rows
from enginecrate.pipelines.decoders.registry import create_decoder

__all__ = ["find_boxes"]

_SIGMOID_QUERIES = {80, 365, 366}
"""RT-DETR's COCO and Objects365 heads have no class for "no object"."""
_SOFTMAX_QUERIES = {92, 251}
"""DETR's COCO and panoptic heads have one."""
_MOST_QUERIES = 1000


def find_boxes(
    outputs: Sequence[Output], size: tuple[int, int], evidence: Evidence, answers: Answers
) -> Boxes | None:
    """The decoder for these outputs; `None` when they are no boxes that one reads."""
    scene = Scene(outputs, *size, evidence, answers)
    forms: tuple[Callable[[Scene], Boxes | None], ...] = (
        _separate, _table, find_rows, _pyramid, _queries, _ssd,
    )  # fmt: skip
    for form in forms:
        boxes = form(scene)
        if boxes is not None and answers.decoder in (None, boxes.decoder):
            return boxes
    return _named(scene, answers.decoder) if answers.decoder else None


def _named(scene: Scene, name: str) -> Boxes:
    """The decoder that the user names, with its defaults.

    Raises:
        PipelineInvalid: there is none of this name, or it does not read such outputs.
    """
    create_decoder(name, {}, scene.head)
    family = name if name in ("nanodet", "detr", "ssd", "yolox") else "ultralytics"
    return Boxes(name, family, "as you say", "sure")


def _separate(scene: Scene) -> Boxes | None:
    """Boxes, scores and labels as outputs of their own."""
    tables = [
        one for one in scene.outputs if one.is_float and _ends(one, 4) and len(one.shape) in (2, 3)
    ]
    # TensorFlow's detectors also answer with the boxes before suppression, without labels.
    boxes = [one for one in tables if len(_companions(scene, one)) >= 2]
    if len(boxes) != 1:
        return None
    rank = len(boxes[0].shape) - 1
    rows = _companions(scene, boxes[0])
    numbers = [one for one in rows if one.is_float]
    whole = [one for one in rows if one.is_whole]
    tensorflow = "tf2onnx" in scene.evidence.frameworks or "detection_boxes" in boxes[0].name
    if rank == 1:
        if len(numbers) != 1 or len(whole) != 1:
            return None
        return _torchvision(scene, boxes[0], numbers[0], whole[0])
    if any("EfficientNMS" in op or "BatchedNMS" in op for op in boxes[0].head.operators):
        words = f"the model ends with {boxes[0].head.operators[0]}"
        return Boxes("efficientnms", "ultralytics", words, "sure")
    if tensorflow:
        return Boxes(
            "ssd", "tensorflow", "boxes, scores and classes as TensorFlow's detectors give them",
            "likely", {"box_format": "yxyx"}, "TensorFlow's boxes are y1, x1, y2, x2", "likely",
            ('{ box_format = "xyxy" }',),
        )  # fmt: skip
    if len(whole) == 1 and len(numbers) == 1 and boxes[0].shape[1] in (-1, *range(1001)):
        return _finished_queries(scene, boxes[0], whole[0])
    if any("nms" in op.lower() or "NonMax" in op for one in rows for op in one.head.operators):
        return Boxes("efficientnms", "ultralytics", "boxes, scores and classes after NMS", "likely")
    if scene.decoder("ssd", {}) is not None:
        return Boxes("ssd", "ssd", "boxes, scores and labels, one of each for an object", "likely")
    return None


def _companions(scene: Scene, boxes: Output) -> list[Output]:
    """The outputs with one number for each of these boxes."""
    return [one for one in scene.outputs if one.shape == boxes.shape[:-1]]


def _torchvision(scene: Scene, boxes: Output, scores: Output, labels: Output) -> Boxes | None:
    if any(array.size and not inside(array) for array in scores.arrays):
        return None
    found = [int(array.min()) for array in labels.arrays if array.size]
    words = "boxes, scores and labels, one of each for an object found"
    options: dict[str, Any] = {}
    reason, certainty = "", "likely"
    if found and min(found) == 0:
        options["label_offset"] = 0
        reason, certainty = "the model gave class 0 for the photos, so it is no background", "sure"
    elif labels.head.kind == "suppressed":
        options["label_offset"] = 0
        reason = "the classes come out of NonMaxSuppression as they are, without a background"
    if scaled := normalised([array.reshape(-1, 4) for array in boxes.arrays if array.size]):
        options["normalised"] = True
        reason = f"{reason}; {scaled}" if reason else scaled
    return Boxes(
        "torchvision", "torchvision", words, "sure", options, reason,
        certainty,  # type: ignore[arg-type]
        ("{ label_offset = 1 } (class 0 is the background)",) if options else (),
    )  # fmt: skip


def _finished_queries(scene: Scene, boxes: Output, labels: Output) -> Boxes | None:
    """Finished boxes of one sample in a batch: after NMS, or one for each query."""
    queries = not boxes.head.suppressed and scene.decoder("detr", {}) is not None
    options: dict[str, Any] = {}
    reason = normalised([array.reshape(-1, 4) for array in boxes.arrays if array.size])
    if reason:
        options["normalised"] = True
    found = [int(array.min()) for array in labels.arrays if array.size]
    if not queries and found and min(found) >= 1:
        options["label_offset"] = 1
        words = "no photo had class 0, which may mean the background"
        reason = f"{reason}; {words}" if reason else words
    if queries:
        words = "boxes, scores and classes of a fixed number of queries"
        return Boxes("detr", "rtdetr", words, "likely", options, reason)
    words = "boxes, scores and classes after NMS"
    others = ("{ label_offset = 0 } (class 0 is an object)",) if found and options else ()
    return Boxes("efficientnms", "ultralytics", words, "likely", options, reason, "likely", others)


def _table(scene: Scene) -> Boxes | None:
    """One table [n,6] or [n,7] of finished boxes."""
    tables = [
        one for one in scene.outputs
        if len(one.shape) == 2 and one.is_float and one.shape[1] in (6, 7)
        and (one.head.suppressed or one.head.ranked)
    ]  # fmt: skip
    if len(tables) != 1:
        four = [one for one in scene.outputs if len(one.shape) == 4 and one.shape[-1] == 7]
        if len(scene.outputs) == 1 and four:
            return Boxes("ssd", "ssd", "rows of image, class, score and box", "sure")
        return None
    table = tables[0]
    if table.shape[1] == 7 and len(scene.outputs) == 1:
        return Boxes("yolov7", "ultralytics", "rows of image, box, class and score", "sure")
    if table.shape[1] == 6:
        rows = [array for array in table.arrays if array.size]
        paddle = "paddle" in scene.evidence.frameworks or len(scene.outputs) == 2
        if all(inside(array[:, 1]) and whole(array[:, 0]) for array in rows) and paddle:
            return Boxes("paddledetection", "paddle", "rows of class, score and box", "likely")
    return None


def _pyramid(scene: Scene) -> Boxes | None:
    """NanoDet and PicoDet: for each stride a table of scores and one of box sides."""
    decoder = scene.decoder("nanodet", {})
    if decoder is None:
        return None
    tables = [
        array for one in scene.outputs for array in one.arrays if one.shape[-1] == decoder.classes
    ]
    options: dict[str, Any] = {}
    reason = ""
    if tables and not all(inside(array) for array in tables):
        options["activation"], reason = "sigmoid", "the scores are not in 0..1 yet"
    paddle = "paddle" in scene.evidence.frameworks or len(scene.outputs) == 8
    return Boxes(
        "nanodet", "picodet" if paddle else "nanodet",
        "for each stride a table of scores and one of distributed box sides", "sure", options,
        reason,
    )  # fmt: skip


def _queries(scene: Scene) -> Boxes | None:
    """DETR: class logits and a box for each query."""
    pair = _pair(scene)
    if pair is None or pair[0].shape[1] > _MOST_QUERIES or scene.decoder("detr", {}) is None:
        return None
    boxes, logits = pair
    if any(not inside(array) for array in boxes.arrays):
        return None
    activation, why, certainty = _query_activation(scene, logits)
    options = {} if activation == "softmax" else {"activation": activation}
    family = "rtdetr" if activation == "sigmoid" and logits.shape[2] != 91 else "detr"
    others = {
        "softmax": '{} (the last class means "no object")',
        "sigmoid": '{ activation = "sigmoid" } (no class means "no object")',
        "none": '{ activation = "none" } (scores already)',
    }
    return Boxes(
        "detr", family, f"class scores and a box for each of {boxes.shape[1]} queries", "sure",
        options, why, certainty, tuple(words for key, words in others.items() if key != activation),
    )  # fmt: skip


def _query_activation(scene: Scene, logits: Output) -> tuple[str, str, Certainty]:
    classes = logits.shape[2]
    if scene.answers.activation is not None:
        return scene.answers.activation, "as you say", "sure"
    if logits.arrays and all(inside(array) for array in logits.arrays):
        return "none", "the numbers are scores in 0..1 already", "sure"
    if scene.labels and classes == scene.labels:
        return "sigmoid", "there are as many labels as classes", "likely"
    if scene.labels and classes == scene.labels + 1:
        return "softmax", 'there is one class more than labels: it means "no object"', "likely"
    if classes in _SIGMOID_QUERIES:
        return "sigmoid", f"{classes} classes are those of RT-DETR", "likely"
    if classes in _SOFTMAX_QUERIES:
        return "softmax", f'{classes} classes are those of DETR, with one for "no object"', "likely"
    last = [float((array[0].argmax(axis=1) == classes - 1).mean()) for array in logits.arrays]
    if last and min(last) > 0.5:
        return "softmax", 'most queries have the last class, which means "no object"', "likely"
    if logits.arrays and all((array < 0).mean() > 0.95 for array in logits.arrays):
        return "sigmoid", "nearly all logits are below 0, as those of a sigmoid are", "likely"
    return (
        "softmax", f'whether the last of {classes} classes means "no object" cannot be seen',
        "unknown",
    )  # fmt: skip


def _ssd(scene: Scene) -> Boxes | None:
    """SSD without suppression: many boxes, and scores for each."""
    pair = _pair(scene)
    if pair is None or scene.decoder("ssd", {}) is None:
        return None
    boxes, scores = pair
    options: dict[str, Any] = {}
    reasons = []
    if scores.arrays and all(inside(array) for array in scores.arrays):
        options["activation"] = "none"
        reasons.append("the numbers are scores in 0..1 already")
        if not all((np.abs(array.sum(axis=-1) - 1) < CLOSE).all() for array in scores.arrays):
            options["background"] = False
            reasons.append("they do not sum to 1, so no class means background")
    corners = [array.reshape(-1, 4) for array in boxes.arrays]
    ordered = all((part[:, 2:] >= part[:, :2] - CLOSE).all() for part in corners)
    if corners and not ordered:
        return None  # offsets from default boxes, which the model does not tell
    if corners and not normalised(corners):
        options["normalised"] = False
        reasons.append("the boxes are in pixels")
    return Boxes(
        "ssd", "ssd", "a box and a score for each class in many places", "likely", options,
        "; ".join(reasons), "likely",
        ('{ activation = "softmax", "sigmoid" or "none", background = true or false }',),
    )  # fmt: skip


def _pair(scene: Scene) -> tuple[Output, Output] | None:
    """An output [batch,n,4], and another one with as many rows."""
    tables = [one for one in scene.outputs if len(one.shape) == 3 and one.is_float]
    boxes = [one for one in tables if _ends(one, 4)]
    by_name = [one for one in tables if "logit" in one.name.lower()]
    if len(tables) != 2 and not (len(boxes) == len(by_name) == 1):
        return None
    if len(boxes) != 1:
        return None
    others = by_name or [one for one in tables if one is not boxes[0]]
    same = len(others) == 1 and others[0].shape[1] == boxes[0].shape[1]
    return (boxes[0], others[0]) if same and others[0].shape[2] > 0 else None


def _ends(output: Output, columns: int) -> bool:
    return output.shape[-1] == columns
