"""Heads with one row for each box: YOLO with its relatives, raw and end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from enginecrate.builder.scaffold.guess.evidence import Output
from enginecrate.builder.scaffold.guess.guesses import Certainty
from enginecrate.builder.scaffold.guess.scene import (
    CLOSE,
    Boxes,
    Floats,
    Scene,
    inside,
    normalised,
    whole,
)
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.registry import create_decoder
from enginecrate.pipelines.decoders.yolo import YoloDecoder
from enginecrate.pipelines.decoders.yolo_layout import Layout

__all__ = ["find_rows"]

_ONE_STEP_OVER_ALL = ("softmax", "log_softmax", "unit_length", "tanh", "index")
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_MOST_FINAL_BOXES = 1000
_USUAL_CLASSES = {20, 80, 365}
"""Of VOC, COCO and Objects365."""


def find_rows(scene: Scene) -> Boxes | None:
    """One output of rows, each with a box and scores."""
    table = scene.outputs[0]
    if len(scene.outputs) != 1 or len(table.shape) != 3 or not table.is_float:
        return None
    metadata = scene.evidence.metadata
    told = metadata.writer == "Ultralytics"
    if table.head.kind in _ONE_STEP_OVER_ALL:
        return None  # boxes stand beside the scores in each row, and no such step is over both
    if metadata.characters or (max(table.shape[1:]) < 0 and not told):
        return None
    layout = _layout(scene, table)
    if layout is None:
        return _of_either_kind(scene, table)
    arrays = [array[0].T if layout.channels_first else array[0] for array in table.arrays]
    arrays = [array for array in arrays if len(array) and np.isfinite(array).all()]
    if layout.kind == "end2end":
        return _end_to_end(scene, table, arrays)
    return _raw(scene, table, layout, arrays)


def _raw(scene: Scene, table: Output, layout: Layout, arrays: Sequence[Floats]) -> Boxes | None:
    """Boxes that overlap, with a score for each class."""
    told = scene.evidence.metadata.writer == "Ultralytics"
    fine = [bool(inside(column)) for array in arrays for column in array[:, 4:].T]
    if fine and any(fine) and not all(fine):
        return None  # key points, masks or an angle stand beside the scores
    options: dict[str, Any] = {}
    reasons = []
    said = scene.answers.activation
    if said == "sigmoid" or (said is None and fine and not any(fine)):
        options["activation"] = "sigmoid"
        reasons.append("as you say" if said else "the scores are not in 0..1 yet")
    boxes = [array[:, :4] for array in arrays]
    if layout.kind == "objectness" and not told and _is_offsets(boxes, scene):
        words = "the boxes are offsets from cells, as YOLOX gives them"
        return Boxes("yolox", "yolox", words, "sure", options, "; ".join(reasons))
    if scaled := normalised(boxes):
        options["normalised"] = True
        reasons.append(scaled)
    if fixed := _explicit(scene, layout):
        options |= fixed
        reasons.append(f"at run time the output is {table.runtime_spec}")
    words = "each row is a box with a score for each class"
    family = "ultralytics"
    if layout.kind == "objectness":
        words = "each row is a box, its objectness and a score for each class"
        family = "yolox" if not told and _rows_of(table, layout) in _grids(scene, 1) else family
    certainty: Certainty = "sure" if arrays or told else "likely"
    return Boxes(
        "yolo", family, f"{words} ({table.runtime_spec})", certainty, options, "; ".join(reasons)
    )


def _of_either_kind(scene: Scene, table: Output) -> Boxes | None:
    """One row for each cell, in which the fifth number is an objectness or the first class."""
    if table.shape[1] not in _grids(scene, 1) or table.shape[2] < 6:
        return None
    arrays = [array[0] for array in table.arrays if np.isfinite(array).all()]
    rest = table.shape[2] - 4
    counted = {"plain": rest, "objectness": rest - 1}
    kinds = [kind for kind, count in counted.items() if count == scene.labels]
    kinds = kinds or [kind for kind, count in counted.items() if count in _USUAL_CLASSES]
    if not kinds and _is_offsets([array[:, :4] for array in arrays], scene):
        kinds = ["objectness"]
    options = {"kind": kinds[0] if kinds else "objectness", "channels": "last"}
    decoder = scene.decoder("yolo", options)
    if not isinstance(decoder, YoloDecoder) or decoder.layout is None:
        return None
    boxes = _raw(scene, table, decoder.layout, arrays)
    if kinds or boxes is None:
        return boxes
    words = f"each row is a box with {rest} classes, or an objectness and {rest - 1} classes"
    return replace(
        boxes,
        options=boxes.options | options,
        options_reason=words,
        options_certainty="unknown",
        options_flag="--labels FILE",
    )


def _layout(scene: Scene, table: Output) -> Layout | None:
    """The kind of head, when only one fits the size of the input."""
    told = scene.evidence.metadata.writer == "Ultralytics"
    final = table.shape[2] == 6 and table.shape[1] <= _MOST_FINAL_BOXES
    candidates: list[dict[str, Any]] = []
    if final and (scene.evidence.metadata.end2end or _looks_final(table)):
        candidates.append({"kind": "end2end", "channels": "last"})
    elif told:
        candidates += _told(scene, table)
    candidates.append({})
    if not scene.ran and table.spec.shape[1] == -1 and table.shape[2] > 5:
        candidates.append({"kind": "objectness", "channels": "last"})
    for options in candidates:
        decoder = scene.decoder("yolo", options)
        layout = decoder.layout if isinstance(decoder, YoloDecoder) else None
        if layout is None:
            continue
        rows = _rows_of(table, layout)
        if told or rows < 0 or layout.kind == "end2end" or rows in _grids(scene, 1, 3):
            return layout
    return None


def _told(scene: Scene, table: Output) -> Iterator[dict[str, Any]]:
    """The kinds for which the model has as many class names as channels."""
    classes = len(scene.evidence.metadata.labels)
    for kind, extra, order, channels in (
        ("plain", 4, "first", table.shape[1]),
        ("plain", 4, "last", table.shape[2]),
        ("objectness", 5, "last", table.shape[2]),
    ):
        if classes and channels == classes + extra:
            yield {"kind": kind, "channels": order}


def _looks_final(table: Output) -> bool:
    arrays = [array[0] for array in table.arrays if array.shape[1]]
    return bool(arrays) and all(inside(one[:, 4]) and whole(one[:, 5]) for one in arrays)


def _rows_of(table: Output, layout: Layout) -> int:
    return table.shape[2 if layout.channels_first else 1]


def _grids(scene: Scene, *boxes_in_a_cell: int) -> set[int]:
    """The numbers of boxes that heads of several strides make."""
    cells = [
        sum(-(-scene.height // stride) * -(-scene.width // stride) for stride in strides)
        for strides in _STRIDES
    ]
    return {each * count for count in cells for each in boxes_in_a_cell}


def _end_to_end(scene: Scene, table: Output, arrays: Sequence[Floats]) -> Boxes | None:
    """Final boxes: corners, score and class."""
    if not all(inside(array[:, 4]) and whole(array[:, 5]) for array in arrays):
        return None
    options: dict[str, Any] = {}
    reason = normalised([array[:, :4] for array in arrays if array[:, 4].max(initial=0) > 0])
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


def _explicit(scene: Scene, layout: Layout) -> dict[str, Any]:
    """The options that the promised shapes alone do not decide."""
    promised = Head([one.spec for one in scene.outputs], scene.height, scene.width)
    try:
        decoder = create_decoder("yolo", {}, promised)
    except EnginecrateError:
        decoder = None
    if isinstance(decoder, YoloDecoder) and decoder.layout == layout:
        return {}
    return {"kind": layout.kind, "channels": "first" if layout.channels_first else "last"}


def _is_offsets(boxes: Sequence[Floats], scene: Scene) -> bool:
    """True when centres do not reach over the picture, as offsets from cells do not."""
    if not boxes:
        return False
    reach = max(float(np.abs(part[:, :2]).max(initial=0)) for part in boxes)
    negative = any((part < -CLOSE).any() for part in boxes)
    return reach < 0.25 * max(scene.height, scene.width) and (negative or reach > 1.5)
