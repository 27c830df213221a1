"""Heads of detectors: which decoder reads them, and with which options.

A form is recognised by the shapes at run time; then the numbers must be those of boxes and scores,
since key points, masks and sequences have such shapes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from enginecrate.builder.scaffold.guess.evidence import Evidence, Output
from enginecrate.builder.scaffold.guess.guesses import Answers, Certainty
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.decoders.base import Decoder, Head
from enginecrate.pipelines.decoders.registry import create_decoder
from enginecrate.pipelines.decoders.yolo import YoloDecoder
from enginecrate.pipelines.decoders.yolo_layout import Layout

__all__ = ["Boxes", "find_boxes"]

Floats = npt.NDArray[np.float64]

_SIGMOID_QUERIES = {80, 365, 366}
"""RT-DETR's COCO and Objects365 heads have no class for "no object"."""
_SOFTMAX_QUERIES = {92, 251}
"""DETR's COCO and panoptic heads have one."""
_MOST_QUERIES = 1000
_YOLO_BATCH_ROWS = 7
_CLOSE = 0.01


@dataclass(frozen=True, slots=True)
class Boxes:
    """A decoder that reads a model.

    family: whose custom decides about pixels and the resize.
    others: other values of the options, in words.
    open_option: the option of `init` that answers what is unknown.
    """

    decoder: str
    family: str
    reason: str
    certainty: Certainty
    options: dict[str, Any] = field(default_factory=dict)
    options_reason: str = ""
    options_certainty: Certainty = "likely"
    others: str = ""


@dataclass(frozen=True, slots=True)
class _Scene:
    """The outputs, and what else is known about the model."""

    outputs: Sequence[Output]
    height: int
    width: int
    evidence: Evidence
    answers: Answers

    @property
    def labels(self) -> int:
        """The number of class names, as far as it is known; else 0."""
        return self.answers.labels or len(self.evidence.metadata.labels)

    @property
    def head(self) -> Head:
        """The outputs with the sizes of the run."""
        return Head([one.runtime_spec for one in self.outputs], self.height, self.width)

    @property
    def ran(self) -> bool:
        return any(output.arrays for output in self.outputs)

    def decoder(self, name: str, options: dict[str, Any]) -> Decoder | None:
        """A decoder, if it reads such outputs."""
        try:
            return create_decoder(name, options, self.head)
        except EnginecrateError:
            return None


def find_boxes(
    outputs: Sequence[Output], size: tuple[int, int], evidence: Evidence, answers: Answers
) -> Boxes | None:
    """The decoder for these outputs; `None` when they are no boxes that one reads."""
    scene = _Scene(outputs, *size, evidence, answers)
    forms: tuple[Callable[[_Scene], Boxes | None], ...] = (
        _separate, _table, _yolo, _pyramid, _queries, _ssd,
    )  # fmt: skip
    for form in forms:
        boxes = form(scene)
        if boxes is not None and answers.decoder in (None, boxes.decoder):
            return boxes
    return None


def _separate(scene: _Scene) -> Boxes | None:
    """Boxes, scores and labels as outputs of their own."""
    outputs = scene.outputs
    boxes = [one for one in outputs if one.is_float and _ends(one, 4) and len(one.shape) in (2, 3)]
    if len(boxes) != 1 or len(outputs) < 3:
        return None
    rank = len(boxes[0].shape) - 1
    rows = [one for one in outputs if len(one.shape) == rank and one is not boxes[0]]
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
    if len(rows) < 2:
        return None
    if tensorflow:
        return Boxes(
            "ssd", "tensorflow", "boxes, scores and classes as TensorFlow's detectors give them",
            "likely", {"box_format": "yxyx"}, "TensorFlow's boxes are y1, x1, y2, x2", "likely",
            'box_format = "xyxy"',
        )  # fmt: skip
    if len(whole) == 1 and len(numbers) == 1 and boxes[0].shape[1] in (-1, *range(1001)):
        return _finished_queries(scene, boxes[0])
    if any("nms" in op.lower() or "NonMax" in op for one in rows for op in one.head.operators):
        return Boxes("efficientnms", "ultralytics", "boxes, scores and classes after NMS", "likely")
    if scene.decoder("ssd", {}) is not None:
        return Boxes("ssd", "ssd", "boxes, scores and labels, one of each for an object", "likely")
    return None


def _torchvision(scene: _Scene, boxes: Output, scores: Output, labels: Output) -> Boxes | None:
    if any(array.size and not _inside(array) for array in scores.arrays):
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
    if scaled := _normalised([array.reshape(-1, 4) for array in boxes.arrays if array.size]):
        options["normalised"] = True
        reason = f"{reason}; {scaled}" if reason else scaled
    return Boxes(
        "torchvision", "torchvision", words, "sure", options, reason,
        certainty,  # type: ignore[arg-type]
        "label_offset = 1 (class 0 is the background)" if options else "",
    )  # fmt: skip


def _finished_queries(scene: _Scene, boxes: Output) -> Boxes | None:
    name = "detr" if scene.decoder("detr", {}) is not None else ""
    if boxes.head.suppressed or not name:
        return Boxes("efficientnms", "ultralytics", "boxes, scores and classes after NMS", "likely")
    options: dict[str, Any] = {}
    reason = _normalised([array.reshape(-1, 4) for array in boxes.arrays if array.size])
    if reason:
        options["normalised"] = True
    return Boxes(
        "detr", "rtdetr", "boxes, scores and classes of a fixed number of queries", "likely",
        options, reason,
    )  # fmt: skip


def _table(scene: _Scene) -> Boxes | None:
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
        if all(_inside(array[:, 1]) and _whole(array[:, 0]) for array in rows) and paddle:
            return Boxes("paddledetection", "paddle", "rows of class, score and box", "likely")
    return None


def _yolo(scene: _Scene) -> Boxes | None:
    """One output of rows, each with a box and scores."""
    tables = [one for one in scene.outputs if len(one.shape) == 3]
    if len(scene.outputs) != 1 or len(tables) != 1 or not tables[0].is_float:
        return None
    table = tables[0]
    layout = _yolo_layout(scene)
    if layout is None:
        return None
    arrays = [array[0].T if layout.channels_first else array[0] for array in table.arrays]
    arrays = [array for array in arrays if len(array) and np.isfinite(array).all()]
    if layout.kind == "end2end":
        return _end_to_end(scene, table, arrays)
    scores = [array[:, 4:] for array in arrays]
    inside = [bool(_inside(column)) for part in scores for column in part.T]
    if inside and any(inside) and not all(inside):
        return None  # key points, masks or an angle stand beside the scores
    options: dict[str, Any] = {}
    reasons = []
    if inside and not any(inside):
        options["activation"] = "sigmoid"
        reasons.append("the scores are not in 0..1 yet")
    boxes = [array[:, :4] for array in arrays]
    ultralytics = scene.evidence.metadata.writer == "Ultralytics"
    if layout.kind == "objectness" and not ultralytics and _is_raw(boxes, scene):
        return _yolox(scene, options)
    if scaled := _normalised(boxes):
        options["normalised"] = True
        reasons.append(scaled)
    fixed = _explicit(scene, layout)
    if fixed:
        options |= fixed
        reasons.append(f"at run time the output is {table.runtime_spec}")
    certainty: Certainty = "sure" if arrays or ultralytics else "likely"
    family = "ultralytics"
    words = "each row is a box with a score for each class"
    if layout.kind == "objectness":
        words = "each row is a box, its objectness and a score for each class"
        if not ultralytics and _one_in_a_cell(table, layout, scene):
            family = "yolox"
    return Boxes(
        "yolo", family, f"{words} ({table.runtime_spec})", certainty, options, "; ".join(reasons)
    )


def _yolo_layout(scene: _Scene) -> Layout | None:
    """The kind of head, when only one fits the size of the input."""
    metadata = scene.evidence.metadata
    decoder: Decoder | None = None
    (table,) = [one for one in scene.outputs if len(one.shape) == 3]
    classes = len(metadata.labels)
    if metadata.writer == "Ultralytics" and classes:
        for kind, extra in (("plain", 4), ("objectness", 5)):
            for order, channels in (("first", table.shape[1]), ("last", table.shape[2])):
                if channels == classes + extra and (kind, order) != ("objectness", "first"):
                    if not (channels == 6 and order == "last" and table.shape[1] <= 300):
                        decoder = scene.decoder("yolo", {"kind": kind, "channels": order})
                        if isinstance(decoder, YoloDecoder) and decoder.layout:
                            return decoder.layout
    if table.shape[2] == 6 and (metadata.end2end or _looks_end_to_end(table)):
        decoder = scene.decoder("yolo", {"kind": "end2end", "channels": "last"})
    if decoder is None:
        decoder = scene.decoder("yolo", {})
    if decoder is None and table.spec.shape[1] == -1 and table.shape[2] > 5 and not scene.ran:
        decoder = scene.decoder("yolo", {"kind": "objectness", "channels": "last"})
    layout = decoder.layout if isinstance(decoder, YoloDecoder) else None
    if layout is None or (layout.kind != "end2end" and not _is_grid(table, layout, scene)):
        return None
    return layout


def _looks_end_to_end(table: Output) -> bool:
    arrays = [array[0] for array in table.arrays if array.shape[1]]
    return bool(arrays) and all(_inside(one[:, 4]) and _whole(one[:, 5]) for one in arrays)


def _is_grid(table: Output, layout: Layout, scene: _Scene) -> bool:
    """True when a head with three strides makes this number of rows; open ones may be anything."""
    rows = table.shape[2 if layout.channels_first else 1]
    if rows < 0 or scene.evidence.metadata.writer == "Ultralytics":
        return True
    return any(rows == each * sum(_cells(scene, strides)) for strides in _STRIDES for each in (1, 3))


_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


def _cells(scene: _Scene, strides: tuple[int, ...]) -> list[int]:
    return [-(-scene.height // stride) * -(-scene.width // stride) for stride in strides]


def _one_in_a_cell(table: Output, layout: Layout, scene: _Scene) -> bool:
    rows = table.shape[2 if layout.channels_first else 1]
    return any(rows == sum(_cells(scene, strides)) for strides in _STRIDES)


def _end_to_end(scene: _Scene, table: Output, arrays: Sequence[Floats]) -> Boxes | None:
    if arrays and not all(_inside(array[:, 4]) and _whole(array[:, 5]) for array in arrays):
        return None
    options: dict[str, Any] = {}
    reason = _normalised([array[:, :4] for array in arrays if array[:, 4].max(initial=0) > 0])
    if reason:
        options["normalised"] = True
    if -1 in table.spec.shape[1:]:
        options |= {"kind": "end2end", "channels": "last"}
        reason = reason or f"at run time the output is {table.runtime_spec}"
    certainty: Certainty = "sure" if arrays or scene.evidence.metadata.end2end else "likely"
    return Boxes(
        "yolo", "ultralytics", f"rows of box, score and class ({table.runtime_spec})", certainty,
        options, reason,
    )  # fmt: skip


def _yolox(scene: _Scene, options: dict[str, Any]) -> Boxes:
    reason = "the boxes are offsets from cells, as YOLOX gives them"
    activation = options.get("activation")
    found = {"activation": activation} if activation else {}
    return Boxes("yolox", "yolox", reason, "sure", found, "the scores are not in 0..1 yet")


def _explicit(scene: _Scene, layout: Layout) -> dict[str, Any]:
    """The options that the promised shapes alone do not decide."""
    promised = Head([one.spec for one in scene.outputs], scene.height, scene.width)
    try:
        decoder = create_decoder("yolo", {}, promised)
    except EnginecrateError:
        decoder = None
    if isinstance(decoder, YoloDecoder) and decoder.layout == layout:
        return {}
    return {"kind": layout.kind, "channels": "first" if layout.channels_first else "last"}


def _is_raw(boxes: Sequence[Floats], scene: _Scene) -> bool:
    """True when centres do not reach over the picture, as offsets from cells do not."""
    if not boxes:
        return False
    reach = max(float(np.abs(part[:, :2]).max(initial=0)) for part in boxes)
    negative = any((part < -_CLOSE).any() for part in boxes)
    return reach < 0.25 * max(scene.height, scene.width) and (negative or reach > 1.5)


def _pyramid(scene: _Scene) -> Boxes | None:
    """NanoDet and PicoDet: for each stride a table of scores and one of box sides."""
    decoder = scene.decoder("nanodet", {})
    if decoder is None:
        return None
    scores = [
        array for one in scene.outputs for array in one.arrays
        if one.shape[-1] != max(output.shape[-1] for output in scene.outputs)
        or decoder.classes == one.shape[-1]
    ]  # fmt: skip
    options: dict[str, Any] = {}
    reason = ""
    tables = [array for array in scores if array.shape[-1] == decoder.classes]
    if tables and not all(_inside(array) for array in tables):
        options["activation"], reason = "sigmoid", "the scores are not in 0..1 yet"
    paddle = "paddle" in scene.evidence.frameworks or len(scene.outputs) == 8
    return Boxes(
        "nanodet", "picodet" if paddle else "nanodet",
        "for each stride a table of scores and one of distributed box sides", "sure", options, reason,
    )  # fmt: skip


def _queries(scene: _Scene) -> Boxes | None:
    """DETR: class logits and a box for each query."""
    pair = _pair(scene)
    if pair is None or pair[0].shape[1] > _MOST_QUERIES or scene.decoder("detr", {}) is None:
        return None
    boxes, logits = pair
    if any(not _inside(array) for array in boxes.arrays):
        return None
    activation, why, certainty = _query_activation(scene, logits)
    options = {} if activation == "softmax" else {"activation": activation}
    family = "rtdetr" if activation == "sigmoid" and logits.shape[2] != 91 else "detr"
    others = {
        "softmax": 'activation = "sigmoid" (no class means "no object"), "none"',
        "sigmoid": 'activation = "softmax" (the last class means "no object"), "none"',
        "none": 'activation = "sigmoid", "softmax"',
    }
    return Boxes(
        "detr", family, f"class scores and a box for each of {boxes.shape[1]} queries", "sure",
        options, why, certainty, others[activation],
    )  # fmt: skip


def _query_activation(scene: _Scene, logits: Output) -> tuple[str, str, Certainty]:
    classes = logits.shape[2]
    if scene.answers.activation is not None:
        return scene.answers.activation, "as you say", "sure"
    if logits.arrays and all(_inside(array) for array in logits.arrays):
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


def _ssd(scene: _Scene) -> Boxes | None:
    """SSD without suppression: many boxes, and scores for each."""
    pair = _pair(scene)
    if pair is None or scene.decoder("ssd", {}) is None:
        return None
    boxes, scores = pair
    options: dict[str, Any] = {}
    reasons = []
    if scores.arrays and all(_inside(array) for array in scores.arrays):
        options["activation"] = "none"
        reasons.append("the numbers are scores in 0..1 already")
        if not all((np.abs(array.sum(axis=-1) - 1) < _CLOSE).all() for array in scores.arrays):
            options["background"] = False
            reasons.append("they do not sum to 1, so no class means background")
    corners = [array.reshape(-1, 4) for array in boxes.arrays]
    ordered = all((part[:, 2:] >= part[:, :2] - _CLOSE).all() for part in corners)
    if corners and not ordered:
        return None  # offsets from default boxes, which the model does not tell
    if corners and not _normalised(corners):
        options["normalised"] = False
        reasons.append("the boxes are in pixels")
    return Boxes(
        "ssd", "ssd", "a box and a score for each class in many places", "likely", options,
        "; ".join(reasons), "likely",
        'activation = "softmax", "sigmoid", "none"; background = true, false',
    )  # fmt: skip


def _pair(scene: _Scene) -> tuple[Output, Output] | None:
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


def _inside(array: Floats) -> bool:
    """True when all numbers lie in 0..1."""
    return bool(array.size == 0 or (array.min() >= -_CLOSE and array.max() <= 1 + _CLOSE))


def _whole(array: Floats) -> bool:
    """True for numbers of classes, or -1 for rows that only fill up."""
    return bool(array.size == 0 or (np.abs(array - np.rint(array)).max() < 1e-3 and array.min() >= -1))


def _normalised(boxes: Sequence[Floats]) -> str:
    """Why boxes are parts of the input's sides, not pixels; empty when they are not."""
    known = [part for part in boxes if part.size]
    if known and all(np.abs(part).max() <= 2 for part in known):
        return "no box is larger than 2: they are parts of the input's sides, not pixels"
    return ""
