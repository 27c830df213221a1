"""YOLOX: rows of box, objectness and class scores, as they leave the network.

YOLOX (arXiv 2107.08430) is exported without the last step: the centre is an offset from the cell
in units of the stride, and the sides are logarithms of it. With `decoded` the boxes are in pixels
already, as `yolo` with kind = "objectness" reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head
from enginecrate.pipelines.decoders.boxes import to_corners
from enginecrate.pipelines.decoders.options import Options, parse_options
from enginecrate.pipelines.decoders.scores import select_objects
from enginecrate.pipelines.decoders.tensors import find_output, first_sample, unfit
from enginecrate.values import Tensors, TensorSpec

__all__ = ["YoloxDecoder", "YoloxOptions", "create_yolox"]

_NAME = "yolox"
_LARGEST_GROWTH = 20.0
"""Limit of a side's logarithm, so that its exponential is finite."""


class YoloxOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Only the strides of unusual heads need to be said."""

    output: str | None = None
    """The output to read. Default: the only one with three dimensions."""
    decoded: bool = False
    """Boxes are in pixels already (exported with --decode_in_inference)."""
    strides: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=1)
    ] = (8, 16, 32)
    """Of the feature maps, in their order in the output."""
    activation: Literal["none", "sigmoid"] = "none"
    """`sigmoid`: scores and objectness are logits."""
    multi_label: bool = False
    """Let one box answer several classes."""


@dataclass(frozen=True, slots=True)
class YoloxDecoder:
    """Reads YOLOX's output.

    cells: (rows, 3): column, row and stride of each cell; `None` when boxes are decoded.
    classes: `None` when the output does not tell.
    """

    output: str
    classes: int | None
    rows: int
    cells: Floats | None
    options: YoloxOptions
    head: Head
    needs_nms: bool = True

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        table = first_sample(outputs, self.output)
        if len(table) != self.rows or table.shape[1] < 6:
            raise PipelineInvalid(
                f"the output {self.output!r} has {table.shape[0]} rows of {table.shape[1]}; the "
                f"decoder {_NAME!r} expects {self.rows} of 5 + classes for an input of "
                f"{self.head.height}x{self.head.width}: correct [pipeline] decoder_options.strides"
            )
        rows, classes, scores = select_objects(
            table[:, 4:],
            score_threshold,
            raw=self.options.activation == "sigmoid",
            multi_label=self.options.multi_label,
        )
        boxes = table[rows, :4]
        if self.cells is not None:
            cells = self.cells[rows]
            sides = np.exp(np.minimum(boxes[:, 2:], np.float32(_LARGEST_GROWTH)))
            boxes = np.concatenate((boxes[:, :2] + cells[:, :2], sides), axis=1) * cells[:, 2:]
        return Candidates(to_corners(boxes), scores, classes)


def create_yolox(options: Mapping[str, Any], head: Head) -> YoloxDecoder:
    """Find YOLOX's output and number its cells.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit.
        LabelsInvalid: the number of labels is not the model's number of classes.
    """
    parsed = parse_options(_NAME, options, YoloxOptions)
    cells = _cells(parsed.strides, head)

    def fits(output: TensorSpec) -> bool:
        return len(output.shape) == 3 and output.shape[2] not in range(6)

    output = find_output(
        _NAME, "output", parsed.output, head, fits, "an output [batch,boxes,5 + classes]"
    )
    _, rows, columns = output.shape
    if rows not in (-1, len(cells)):
        raise unfit(
            _NAME,
            f"{len(cells)} rows for an input of {head.height}x{head.width} (strides "
            f"{list(parsed.strides)})",
            head,
        )
    classes = columns - 5 if columns > 0 else None
    if head.labels and classes not in (None, head.labels):
        raise LabelsInvalid(
            f"[pipeline] labels has {head.labels} labels, but the model's output {output} has "
            f"room for {classes} classes: the two numbers must be equal"
        )
    return YoloxDecoder(
        output.name, classes, len(cells), None if parsed.decoded else cells, parsed, head
    )


def _cells(strides: Sequence[int], head: Head) -> Floats:
    parts = []
    for stride in strides:
        y, x = np.mgrid[: -(-head.height // stride), : -(-head.width // stride)]
        parts.append(np.stack((x.ravel(), y.ravel(), np.full(x.size, stride)), axis=1))
    return np.concatenate(parts).astype(np.float32)
