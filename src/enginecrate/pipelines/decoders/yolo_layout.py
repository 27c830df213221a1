"""The kind of a YOLO head, as far as its shape and the labels tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.tensors import unfit
from enginecrate.values import TensorSpec

__all__ = ["Layout", "YoloKind", "extra_columns", "find_layout", "layout_of"]

YoloKind = Literal["plain", "objectness", "end2end"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_MOST_END2END_BOXES = 1000
_USUAL_END2END_BOXES = 300
_USUAL_POSE_CHANNELS = 4 + 1 + 17 * 3


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the output.

    classes: `None` when the output does not tell.
    end: the column after the last score; what follows belongs to masks or key points.
    """

    kind: YoloKind
    channels_first: bool
    channels: int
    classes: int | None
    end: int


def extra_columns(output: TensorSpec, head: Head) -> int:
    """The columns of a segmentation model's masks: as many as its one output of prototypes has."""
    prototypes = [other for other in head.outputs if len(other.shape) == 4]
    if len(prototypes) != 1 or len(output.shape) != 3:
        return 0
    return max(0, prototypes[0].shape[1])


def find_layout(
    output: TensorSpec,
    kind: YoloKind | None,
    channels: Literal["first", "last"] | None,
    extra: int,
    head: Head,
) -> Layout | None:
    """Decide by the options first, then by the number of boxes, then by the number of labels.

    Args:
        output: three dimensions, of which the last two hold boxes and channels.
        kind: the option; `None` when it is not set.
        channels: the option; `None` when it is not set.
        extra: columns after the scores that are not read.
        head: the model's outputs, its input's size and the number of labels.

    Returns:
        `None` while an open dimension leaves a choice: `layout_of` makes it at run time.

    Raises:
        PipelineInvalid: nothing fits, or more than one thing does.
        LabelsInvalid: only the number of labels does not fit.
    """
    sizes = output.shape[1:]
    known = [size for size in sizes if size > 0]
    if -1 in sizes:
        if not known or _is_grid(known[0], 1, head) or _is_grid(known[0], 3, head):
            return None  # the channels are open: only their number tells
        fitting, _ = _fitting(output, kind, channels, extra, head)
        kinds = {layout.kind for layout in fitting}
        if len(kinds) > 1 and "end2end" in kinds:
            return None  # the number of boxes tells
        if not fitting and known[0] == _USUAL_END2END_BOXES:
            return None
    return layout_of(output, kind, channels, extra, head)


def layout_of(
    output: TensorSpec,
    kind: YoloKind | None,
    channels: Literal["first", "last"] | None,
    extra: int,
    head: Head,
) -> Layout:
    """As `find_layout`, for the shape that an output has at run time.

    Raises:
        PipelineInvalid: nothing fits, or more than one thing does.
        LabelsInvalid: only the number of labels does not fit.
    """
    fitting, usual = _fitting(output, kind, channels, extra, head)
    if kind is None and channels != "first":
        _refuse_other_end2end(output, usual, head)
    if not fitting:
        raise _labels_misfit(output, usual, head)
    if len(fitting) != 1:
        raise PipelineInvalid(
            f"the decoder 'yolo' cannot tell from the shape of {output} which kind of head it "
            "is: set [pipeline] decoder_options.kind (plain, objectness or end2end) and "
            ".channels (first or last)"
        )
    if kind is None:
        _refuse_pose(output, fitting[0], head)
    return fitting[0]


def _fitting(
    output: TensorSpec,
    kind: YoloKind | None,
    channels: Literal["first", "last"] | None,
    extra: int,
    head: Head,
) -> tuple[list[Layout], list[Layout]]:
    """The ways to read the shape that fit the labels, and those that would fit other labels."""
    possible = [
        layout
        for layout in _layouts(output, extra)
        if kind in (None, layout.kind)
        and channels in (None, "first" if layout.channels_first else "last")
    ]
    if not possible:
        more = f" and {extra} more" if extra else ""
        raise unfit("yolo", f"4 + classes, 5 + classes or (end to end) 6 channels{more}", head)
    usual = [one for one in possible if _usual_boxes(output, one, head)] or possible
    return [one for one in usual if not head.labels or one.classes in (None, head.labels)], usual


def _layouts(output: TensorSpec, extra: int) -> Iterator[Layout]:
    """Every way to read the shape."""
    for first in (True, False):
        channels, boxes = output.shape[1:] if first else output.shape[:0:-1]
        end = channels - extra
        if end > 4:
            yield Layout("plain", first, channels, end - 4, end)
        if end > 5:
            yield Layout("objectness", first, channels, end - 5, end)
        if end == 6 and not first and boxes <= _MOST_END2END_BOXES:
            yield Layout("end2end", first, channels, None, end)


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


def _refuse_other_end2end(output: TensorSpec, usual: list[Layout], head: Head) -> None:
    """End-to-end heads of poses, masks and rotated boxes have columns that pass for classes."""
    rows, columns = output.shape[1:]
    if rows != _USUAL_END2END_BOXES or any(layout.kind == "end2end" for layout in usual):
        return
    if any(_is_grid(size, per_cell, head) for size in (rows, columns) for per_cell in (1, 3)):
        return
    raise PipelineInvalid(
        f"the decoder 'yolo' takes {output} for an end-to-end head with {columns - 6} more "
        "columns: those of key points, masks or rotated boxes, which are not read. For key points "
        f"or masks, [pipeline] decoder_options.extra = {columns - 6} reads the boxes alone; "
        "rotated boxes (OBB) need a pipeline of your own; for another head set "
        'decoder_options.kind, for example "plain"'
    )


def _refuse_pose(output: TensorSpec, layout: Layout, head: Head) -> None:
    """A pose model's key points pass for classes where no labels say how many there are."""
    if layout.kind != "plain" or head.labels or layout.channels != layout.end:
        return
    if layout.channels == _USUAL_POSE_CHANNELS:
        raise PipelineInvalid(
            f"the decoder 'yolo' takes {output} for a pose model (1 class and 17 key points, which "
            "are not read): [pipeline] decoder_options.extra = 51 reads its boxes alone; for a "
            f'detector of {layout.classes} classes set decoder_options.kind = "plain", or labels'
        )


def _labels_misfit(output: TensorSpec, usual: list[Layout], head: Head) -> LabelsInvalid:
    counts = " or ".join(f"{one.classes} ({one.kind})" for one in usual if one.classes)
    over = [one.classes - head.labels for one in usual if one.kind == "plain" and one.classes]
    hint = " (masks and key points are not read)"
    if over and over[0] == 1:
        hint = (
            ". One column more than labels may be the angle of rotated boxes (OBB), which are not "
            "read"
        )
    elif over and over[0] > 1:
        hint += (
            f". If its last {over[0]} columns are key points or masks, "
            f"decoder_options.extra = {over[0]} reads the boxes alone"
        )
    return LabelsInvalid(
        f"[pipeline] labels has {head.labels} labels, but the model's output {output} has room "
        f"for {counts} classes: correct the labels, or choose another [pipeline] decoder{hint}"
    )
