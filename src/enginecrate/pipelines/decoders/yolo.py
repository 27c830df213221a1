"""YOLO: one output in which each row (or column) holds a box, perhaps an objectness, and scores.

Read are the heads of YOLOv5 (with objectness; also YOLOX with decoded boxes) and of YOLOv8,
v9, v11 and v12 (without), in either order of the axes, and the end-to-end heads of YOLOv10,
YOLO26 and of exports with `nms=True`, whose rows are x1, y1, x2, y2, score, class and need no
suppression. Of segmentation models the boxes are read, and the masks are not. Where the export
leaves a dimension open, the shape at run time decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head, Indices
from enginecrate.pipelines.decoders.boxes import BoxFormat, in_pixels
from enginecrate.pipelines.decoders.options import Options, parse_options
from enginecrate.pipelines.decoders.scores import logit, select, select_objects, sigmoid
from enginecrate.pipelines.decoders.tensors import find_output, first_sample
from enginecrate.pipelines.decoders.yolo_layout import (
    Layout,
    YoloKind,
    extra_columns,
    find_layout,
    layout_of,
)
from enginecrate.values import Tensors, TensorSpec

__all__ = ["YoloDecoder", "YoloOptions", "create_yolo"]

_NAME = "yolo"


class YoloOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kind of head and the order of axes are found by shape, as far as it decides them."""

    output: str | None = None
    """The output to read. Default: the only one with three dimensions."""
    kind: YoloKind | None = None
    """`objectness`: v5; `plain`: v8 and later; `end2end`: v10, v26. Default: by shape."""
    channels: Literal["first", "last"] | None = None
    """`first`: [batch,channels,boxes]; `last`: [batch,boxes,channels]. Default: by shape."""
    box_format: BoxFormat | None = None
    """Default: `xyxy` for `end2end`, otherwise `cxcywh`."""
    normalised: bool = False
    """Boxes are parts of the input's width and height, not pixels."""
    activation: Literal["none", "sigmoid"] = "none"
    """`sigmoid`: scores (and objectness) are logits."""
    multi_label: bool = False
    """Let one box answer several classes."""
    extra: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Columns after the scores that are not read: of masks (32) or key points (51). Default: as
    many as the output with the prototypes of masks has, if there is one."""


@dataclass(frozen=True, slots=True)
class YoloDecoder:
    """Reads YOLO's output. layout: `None` while only the shape at run time decides it."""

    output: TensorSpec
    layout: Layout | None
    extra: int
    options: YoloOptions
    head: Head

    @property
    def undecided(self) -> bool:
        """True when nothing but the rank of the output has been looked at yet."""
        return self.layout is None and max(self.output.shape[1:]) < 0

    @property
    def classes(self) -> int | None:
        return self.layout.classes if self.layout else None

    @property
    def needs_nms(self) -> bool:
        return self.layout is None or self.layout.kind != "end2end"

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        table = first_sample(outputs, self.output.name)
        layout = self.layout or self._layout_of(table)
        table = table.T if layout.channels_first else table
        if table.shape[1] != layout.channels:
            raise PipelineInvalid(
                f"the output {self.output.name!r} has {table.shape[1]} channels, not "
                f"{layout.channels} as the model promised"
            )
        read = {"plain": self._plain, "objectness": self._objectness, "end2end": self._end2end}
        rows, classes, scores = read[layout.kind](table[:, : layout.end], score_threshold)
        end2end = layout.kind == "end2end"
        box_format = self.options.box_format or ("xyxy" if end2end else "cxcywh")
        boxes = in_pixels(
            table[rows, :4], box_format, self.head, normalised=self.options.normalised
        )
        return Candidates(boxes, scores, classes, suppressed=end2end)

    def _layout_of(self, table: Floats) -> Layout:
        options = self.options
        arrived = TensorSpec(self.output.name, self.output.datatype, (1, *table.shape))
        return layout_of(arrived, options.kind, options.channels, self.extra, self.head)

    def _plain(self, table: Floats, threshold: float) -> tuple[Indices, Indices, Floats]:
        raw = self.options.activation == "sigmoid"
        rows, classes, scores = select(
            table[:, 4:],
            logit(threshold) if raw else threshold,
            multi_label=self.options.multi_label,
        )
        return rows, classes, sigmoid(scores) if raw else scores

    def _objectness(self, table: Floats, threshold: float) -> tuple[Indices, Indices, Floats]:
        return select_objects(
            table[:, 4:],
            threshold,
            raw=self.options.activation == "sigmoid",
            multi_label=self.options.multi_label,
        )

    def _end2end(self, table: Floats, threshold: float) -> tuple[Indices, Indices, Floats]:
        rows = np.flatnonzero(table[:, 4] >= threshold)
        return rows, table[rows, 5].astype(np.intp), table[rows, 4]


def create_yolo(options: Mapping[str, Any], head: Head) -> YoloDecoder:
    """Find YOLO's output and how it is laid out.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
        LabelsInvalid: the number of labels is not the model's number of classes.
    """
    parsed = parse_options(_NAME, options, YoloOptions)
    output = find_output(
        _NAME, "output", parsed.output, head,
        lambda output: len(output.shape) == 3,
        "an output [batch,channels,boxes] or [batch,boxes,channels]",
    )  # fmt: skip
    if parsed.extra == 1:
        raise PipelineInvalid(
            "[pipeline] decoder_options.extra = 1: one more column is the angle of rotated boxes "
            "(OBB), which are not read; write a pipeline of your own ([pipeline] module)"
        )
    extra = extra_columns(output, head) if parsed.extra is None else parsed.extra
    layout = find_layout(output, parsed.kind, parsed.channels, extra, head)
    if layout and layout.kind == "end2end" and parsed.activation != "none":
        raise PipelineInvalid(
            "[pipeline] decoder_options.activation must be 'none' for kind = 'end2end': "
            "its scores were compared inside the model, which needs them activated"
        )
    return YoloDecoder(output, layout, extra, parsed, head)
