"""The options of decoders that read finished boxes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from enginecrate.pipelines.decoders.boxes import BoxFormat
from enginecrate.pipelines.decoders.options import Options

__all__ = ["SeparateOptions", "TableOptions"]


class SeparateOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Boxes, scores and labels in outputs of their own: found by shape, datatype and name."""

    boxes: str | None = None
    """The output with boxes. Default: the only one with 4 columns."""
    scores: str | None = None
    """The one with scores. Default: the only one beside the boxes that is not of whole numbers."""
    labels: str | None = None
    """The one with classes. Default: the only one of whole numbers, or by its name."""
    count: str | None = None
    """The one that says how many boxes count. Default: by its name."""
    box_format: BoxFormat = "xyxy"
    """The order of the four columns."""
    normalised: bool = False
    """Boxes are parts of the input's width and height, not pixels."""
    label_offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The model's class that has the first label. Default: `torchvision`: 1; otherwise 0."""


class TableOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table with a row for each box."""

    output: str | None = None
    """The output to read. Default: the only one of that shape."""
    count: str | None = None
    """The output that says how many rows count. Default: none, or the only one of whole numbers."""
    normalised: bool = False
    """Boxes are parts of the input's width and height, not pixels."""
    label_offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The model's class that has the first label; lower classes are left out."""
