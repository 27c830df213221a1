"""NanoDet: for each stride a table of class scores and one of distributed box sides.

The head is Generalized Focal Loss (arXiv 2006.04388): the distance from a cell's centre to
each side of the box is a distribution over the bins 0..reg_max, and its expectation times the
stride is the distance in pixels. The cell in column `i` has its centre at `(i + 0.5) * stride`.
NanoDet-Plus (one joined output, centres at `i * stride`) is another head and not read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head, Indices
from enginecrate.pipelines.decoders.options import Options, parse_options
from enginecrate.pipelines.decoders.scores import logit, select, sigmoid, softmax
from enginecrate.pipelines.decoders.tensors import first_sample, named_output, unfit
from enginecrate.values import Tensors, TensorSpec

__all__ = ["NanoDetDecoder", "NanoDetOptions", "create_nanodet"]

_NAME = "nanodet"
_STRIDES = (4, 8, 16, 32, 64, 128)
_USUAL_SIDES = (4 * 8, 4 * 11)
"""Columns of the side tables for reg_max 7 and 10, the values that NanoDet was published with."""


class NanoDetOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything is found by itself as long as the model's shapes are fixed and distinct."""

    reg_max: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The highest bin. Default: from the shapes."""
    scores: list[str] | None = None
    """The outputs with class scores, one for each stride. Default: found by shape."""
    boxes: list[str] | None = None
    """The outputs with box sides, in the same order. Default: found by shape."""
    strides: list[Annotated[int, msgspec.Meta(ge=1)]] | None = None
    """In the order of `scores`. Default: from the number of rows."""
    activation: Literal["none", "sigmoid"] = "none"
    """`sigmoid`: the model's scores are logits."""
    multi_label: bool = False
    """Let one cell answer several classes."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One stride: `columns` cells in a row, `cells` in all."""

    scores: str
    sides: str
    stride: int
    columns: int
    cells: int


@dataclass(frozen=True, slots=True)
class NanoDetDecoder:
    """Reads NanoDet's pairs of outputs."""

    levels: Sequence[_Level]
    classes: int
    reg_max: int
    options: NanoDetOptions
    needs_nms: bool = True

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        raw = self.options.activation == "sigmoid"
        threshold = logit(score_threshold) if raw else score_threshold
        parts = [self._decode_level(level, outputs, threshold) for level in self.levels]
        boxes, scores, classes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Candidates(boxes, sigmoid(scores) if raw else scores, classes)

    def _decode_level(
        self, level: _Level, outputs: Tensors, threshold: float
    ) -> tuple[Floats, Floats, Indices]:
        table = first_sample(outputs, level.scores)
        if table.shape != (level.cells, self.classes):
            raise PipelineInvalid(
                f"the output {level.scores!r} has the shape {table.shape}; the decoder {_NAME!r} "
                f"expects {(level.cells, self.classes)} at stride {level.stride}"
            )
        rows, classes, scores = select(table, threshold, multi_label=self.options.multi_label)
        if not len(rows):
            return np.empty((0, 4), np.float32), scores, classes
        # Only the few rows that passed get here: the softmax of all would cost milliseconds.
        sides = np.asarray(outputs[level.sides][0][rows], dtype=np.float32)
        bins = softmax(sides.reshape(-1, 4, self.reg_max + 1))
        distance = bins @ np.arange(self.reg_max + 1, dtype=np.float32)
        centre = np.stack((rows % level.columns, rows // level.columns), axis=1) + np.float32(0.5)
        corners = np.concatenate((centre - distance[:, :2], centre + distance[:, 2:]), axis=1)
        return (corners * level.stride).astype(np.float32), scores, classes


def create_nanodet(options: Mapping[str, Any], head: Head) -> NanoDetDecoder:
    """Find NanoDet's outputs by their shapes, or by the names in the options.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit.
    """
    parsed = parse_options(_NAME, options, NanoDetOptions)
    scores, sides = _split_outputs(parsed, head)
    classes, columns = scores[0].shape[-1], sides[0].shape[-1]
    alike = all(o.shape[-1] == classes for o in scores) and all(
        o.shape[-1] == columns for o in sides
    )
    if not alike or classes < 1 or columns < 8 or columns % 4:
        raise unfit(_NAME, _EXPECTED, head)
    if parsed.strides is not None and len(parsed.strides) != len(scores):
        raise PipelineInvalid(
            f"[pipeline] decoder_options.strides of {_NAME!r} has {len(parsed.strides)} entries, "
            f"but the model has {len(scores)} outputs with scores: "
            f"{', '.join(output.name for output in scores)}"
        )
    levels = [
        _level(output, _partner(output, sides, index, head), parsed.strides, index, head)
        for index, output in enumerate(scores)
    ]
    return NanoDetDecoder(levels, classes, columns // 4 - 1, parsed)


_EXPECTED = (
    "for each stride one output [batch,cells,classes] with scores and one "
    "[batch,cells,4*(reg_max+1)] with box sides"
)


def _split_outputs(
    options: NanoDetOptions, head: Head
) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """The outputs with scores and the ones with sides, as many of each."""
    if options.scores or options.boxes:
        scores = [named_output(_NAME, "scores", name, head) for name in options.scores or ()]
        sides = [named_output(_NAME, "boxes", name, head) for name in options.boxes or ()]
    else:
        columns = _side_columns(options, head)
        tables = [output for output in head.outputs if len(output.shape) == 3]
        sides = [output for output in tables if output.shape[-1] == columns]
        scores = [output for output in tables if output.shape[-1] != columns]
    if not scores or len(scores) != len(sides):
        raise unfit(_NAME, _EXPECTED, head)
    return scores, sides


def _side_columns(options: NanoDetOptions, head: Head) -> int:
    """The number of columns of the side tables, among the (two) widths that there are."""
    if options.reg_max is not None:
        return 4 * (options.reg_max + 1)
    widths = {output.shape[-1] for output in head.outputs if len(output.shape) == 3}
    possible = {w for w in widths if w >= 8 and w % 4 == 0} - {head.labels}
    if len(possible) > 1:
        possible &= set(_USUAL_SIDES)
    if not possible:
        raise unfit(_NAME, _EXPECTED, head)
    if len(possible) > 1:
        raise PipelineInvalid(
            f"the decoder {_NAME!r} cannot tell scores from box sides by the shapes ({head}): "
            "set [pipeline] decoder_options.reg_max, or scores and boxes"
        )
    return possible.pop()


def _partner(scores: TensorSpec, sides: Sequence[TensorSpec], index: int, head: Head) -> TensorSpec:
    """The sides of the cells whose scores are given: as many rows; or else the same place."""
    cells = scores.shape[1]
    if cells < 0:
        return sides[index]
    same = [output for output in sides if output.shape[1] in (cells, -1)]
    if not same:
        raise unfit(_NAME, f"box sides with the {cells} rows of {scores.name!r}", head)
    return same[0]


def _level(
    scores: TensorSpec, sides: TensorSpec, strides: list[int] | None, index: int, head: Head
) -> _Level:
    known = _STRIDES if strides is None else (strides[index],)
    grids = {stride: (-(-head.height // stride), -(-head.width // stride)) for stride in known}
    for stride, (rows, columns) in grids.items():
        if scores.shape[1] == rows * columns or (scores.shape[1] < 0 and strides is not None):
            return _Level(scores.name, sides.name, stride, columns, rows * columns)
    if scores.shape[1] < 0:
        raise PipelineInvalid(
            f"the number of rows of the output {scores} is dynamic, so the decoder {_NAME!r} "
            "cannot tell its stride: set [pipeline] decoder_options.strides, scores and boxes"
        )
    counts = ", ".join(f"{rows * columns} (stride {s})" for s, (rows, columns) in grids.items())
    raise unfit(_NAME, f"{counts} rows for an input of {head.height}x{head.width}", head)
