"""YOLO: one output in which each row (or column) holds a box, perhaps an objectness, and scores.

Read are the heads of YOLOv5 (with objectness; also YOLOX with decoded boxes) and of YOLOv8,
v9, v11 and v12 (without), in either order of the axes, and the end-to-end heads of YOLOv10
and YOLO26, whose rows are x1, y1, x2, y2, score, class and need no suppression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head, Indices
from enginecrate.pipelines.decoders.boxes import BoxFormat, to_corners, to_pixels
from enginecrate.pipelines.decoders.options import Options, parse_options
from enginecrate.pipelines.decoders.scores import logit, select, sigmoid
from enginecrate.pipelines.decoders.tensors import find_output, first_sample
from enginecrate.pipelines.decoders.yolo_layout import Layout, YoloKind, find_layout
from enginecrate.values import Tensors

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


@dataclass(frozen=True, slots=True)
class YoloDecoder:
    """Reads YOLO's output."""

    output: str
    layout: Layout
    options: YoloOptions
    head: Head

    @property
    def classes(self) -> int | None:
        return self.layout.classes

    @property
    def needs_nms(self) -> bool:
        return self.layout.kind != "end2end"

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        table = first_sample(outputs, self.output)
        table = table.T if self.layout.channels_first else table
        if table.shape[1] != self.layout.channels:
            raise PipelineInvalid(
                f"the output {self.output!r} has {table.shape[1]} channels, not "
                f"{self.layout.channels} as the model promised"
            )
        read = {"plain": self._plain, "objectness": self._objectness, "end2end": self._end2end}
        rows, classes, scores = read[self.layout.kind](table, score_threshold)
        boxes = table[rows, :4]
        if self._box_format == "cxcywh":
            boxes = to_corners(boxes)
        if self.options.normalised:
            boxes = to_pixels(boxes, self.head)
        return Candidates(boxes, scores, classes)

    @property
    def _box_format(self) -> BoxFormat:
        return self.options.box_format or ("cxcywh" if self.needs_nms else "xyxy")

    def _plain(self, table: Floats, threshold: float) -> tuple[Indices, Indices, Floats]:
        raw = self.options.activation == "sigmoid"
        rows, classes, scores = select(
            table[:, 4:],
            logit(threshold) if raw else threshold,
            multi_label=self.options.multi_label,
        )
        return rows, classes, sigmoid(scores) if raw else scores

    def _objectness(self, table: Floats, threshold: float) -> tuple[Indices, Indices, Floats]:
        """The score of a class is its own times the objectness, so both must pass alone."""
        raw = self.options.activation == "sigmoid"
        objects = np.flatnonzero(table[:, 4] >= (logit(threshold) if raw else threshold))
        confidence = table[objects, 4:]
        confidence = sigmoid(confidence) if raw else confidence
        rows, classes, scores = select(
            confidence[:, :1] * confidence[:, 1:],
            threshold,
            multi_label=self.options.multi_label,
        )
        return objects[rows], classes, scores

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
    layout = find_layout(output, parsed.kind, parsed.channels, head)
    if layout.kind == "end2end" and parsed.activation != "none":
        raise PipelineInvalid(
            "[pipeline] decoder_options.activation must be 'none' for kind = 'end2end': "
            "its scores were compared inside the model, which needs them activated"
        )
    return YoloDecoder(output.name, layout, parsed, head)
