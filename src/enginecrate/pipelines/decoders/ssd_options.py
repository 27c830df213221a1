"""The options of the SSD decoders."""

from __future__ import annotations

from typing import Annotated

import msgspec

from enginecrate.pipelines.decoders.boxes import BoxFormat
from enginecrate.pipelines.decoders.options import Activation, Options

__all__ = ["NAME", "SsdOptions"]

NAME = "ssd"

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Size = Annotated[int, msgspec.Meta(ge=1)]


class SsdOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each form of outputs uses some of them; the form's name stands in front."""

    boxes: str | None = None
    """All but [1,1,N,7]: the output with boxes. Default: the only one with 4 columns."""
    scores: str | None = None
    """All but [1,1,N,7]: the one with scores. Default: by shape, or by its name."""
    labels: str | None = None
    """Three outputs: the one with classes. Default: the one of whole numbers, or by its name."""
    count: str | None = None
    """Three outputs: a fourth that says how many boxes count. Default: by its name."""
    box_format: BoxFormat | None = None
    """Three outputs. Default: `yxyx` for TensorFlow's `detection_boxes`, otherwise `xyxy`."""
    activation: Activation = "softmax"
    """Raw: what turns the model's outputs into scores."""
    background: bool = True
    """Class 0 means no object."""
    label_offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The model's class that has the first label. Default: 1 with a background, otherwise 0."""
    normalised: bool = True
    """Boxes are parts of the input's width and height, not pixels."""
    multi_label: bool = True
    """Raw: let one box answer several classes."""
    scales: Annotated[list[_Positive], msgspec.Meta(min_length=2)] | None = None
    """Raw: the scale of each feature map's default boxes, and one more."""
    aspect_ratios: list[list[_Positive]] | None = None
    """Raw: for each feature map; 1 is always there, and the inverse of each."""
    feature_maps: list[tuple[_Size, _Size]] | None = None
    """Raw: rows and columns of each feature map. Default: from `steps`."""
    steps: list[_Size] | None = None
    """Raw: pixels between the cells' centres. Default: the input's size / the map's."""
    clip: bool = True
    """Raw: limit the sides of default boxes to the image's."""
    variances: tuple[_Positive, _Positive] = (0.1, 0.2)
    """Raw: of the centre and of the sides."""

    @property
    def first_class(self) -> int:
        """The model's class that has the first label."""
        return int(self.background) if self.label_offset is None else self.label_offset
