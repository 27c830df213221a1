"""The kind of a YOLO head, as far as its shape and the labels tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.tensors import unfit
from enginecrate.values import TensorSpec

__all__ = ["Layout", "YoloKind", "find_layout"]

YoloKind = Literal["plain", "objectness", "end2end"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_MOST_END2END_BOXES = 1000


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the output. `classes` is `None` when the output does not tell."""

    kind: YoloKind
    channels_first: bool
    channels: int
    classes: int | None


def find_layout(
    output: TensorSpec,
    kind: YoloKind | None,
    channels: Literal["first", "last"] | None,
    head: Head,
) -> Layout:
    """Decide by the options first, then by the number of boxes, then by the number of labels.

    Args:
        output: three dimensions, of which the last two hold boxes and channels.
        kind: the option; `None` when it is not set.
        channels: the option; `None` when it is not set.
        head: the model's outputs, its input's size and the number of labels.

    Raises:
        PipelineInvalid: nothing fits, or more than one thing does.
        LabelsInvalid: only the number of labels does not fit.
    """
    possible = [
        layout
        for layout in _layouts(output)
        if kind in (None, layout.kind)
        and channels in (None, "first" if layout.channels_first else "last")
    ]
    if not possible:
        raise unfit("yolo", "4 + classes, 5 + classes or (end to end) 6 channels", head)
    usual = [one for one in possible if _usual_boxes(output, one, head)] or possible
    fitting = [one for one in usual if not head.labels or one.classes in (None, head.labels)]
    if not fitting:
        raise _labels_misfit(output, usual, head)
    if len(fitting) != 1:
        raise PipelineInvalid(
            f"the decoder 'yolo' cannot tell from the shape of {output} which kind of head it "
            "is: set [pipeline] decoder_options.kind (plain, objectness or end2end) and "
            ".channels (first or last)"
        )
    return fitting[0]


def _layouts(output: TensorSpec) -> Iterator[Layout]:
    """Every way to read the shape."""
    for first in (True, False):
        channels, boxes = output.shape[1:] if first else output.shape[:0:-1]
        if channels > 4:
            yield Layout("plain", first, channels, channels - 4)
        if channels > 5:
            yield Layout("objectness", first, channels, channels - 5)
        if channels == 6 and not first and boxes <= _MOST_END2END_BOXES:
            yield Layout("end2end", first, channels, None)


def _usual_boxes(output: TensorSpec, layout: Layout, head: Head) -> bool:
    """True when such a head makes this number of boxes from the input's size."""
    boxes = output.shape[2 if layout.channels_first else 1]
    if layout.kind == "objectness" and layout.channels_first:
        return False
    if boxes < 0:  # dynamic: tells nothing
        return True
    if layout.kind == "objectness":  # YOLOv5 has three boxes in a cell, YOLOX has one
        return _is_grid(boxes, 1, head) or _is_grid(boxes, 3, head)
    return _is_grid(boxes, 1, head) is (layout.kind == "plain")


def _is_grid(boxes: int, per_cell: int, head: Head) -> bool:
    def cells(strides: tuple[int, ...]) -> int:
        return sum(-(-head.height // s) * -(-head.width // s) for s in strides)

    return any(boxes == per_cell * cells(strides) for strides in _STRIDES)


def _labels_misfit(output: TensorSpec, usual: list[Layout], head: Head) -> LabelsInvalid:
    counts = " or ".join(f"{one.classes} ({one.kind})" for one in usual if one.classes)
    return LabelsInvalid(
        f"[pipeline] labels has {head.labels} labels, but the model's output {output} has room "
        f"for {counts} classes: correct the labels, or choose another [pipeline] decoder (masks "
        "and key points are not read)"
    )
