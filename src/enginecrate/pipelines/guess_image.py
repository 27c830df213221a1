"""Guesses how a model takes its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enginecrate.pipelines.image.normalize import IMAGE_DATATYPES
from enginecrate.values import DataType, TensorSpec

__all__ = ["ImageGuess", "guess_image"]

_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class ImageGuess:
    """An input that takes an image.

    height, width: -1 where the model leaves them open.
    keys: for the `[pipeline]` section: layout and color, and size where the model needs one.
    reasons: what they were concluded from.
    """

    tensor: TensorSpec
    height: int
    width: int
    keys: dict[str, Any]
    reasons: list[str]

    @property
    def normalises_itself(self) -> bool:
        """Whether it takes pixel values as they are."""
        return self.tensor.datatype is DataType.UINT8

    def sized(self, usual: int, why: str) -> ImageGuess:
        """The same, with a usual height and width where the model leaves them open."""
        if self.height > 0 and self.width > 0:
            return self
        height = self.height if self.height > 0 else usual
        width = self.width if self.width > 0 else usual
        reason = f"size = [{height}, {width}]: the model leaves it open; {why}"
        keys = self.keys | {"size": (height, width)}
        return ImageGuess(self.tensor, height, width, keys, [*self.reasons, reason])


def guess_image(inputs: Sequence[TensorSpec]) -> ImageGuess | str:
    """The model's image input; or why it has none that a built-in pipeline can fill."""
    listed = ", ".join(map(str, inputs))
    if len(inputs) != 1:
        return f"the model has {len(inputs)} inputs ({listed}), and a picture fills one"
    tensor = inputs[0]
    shape = tensor.shape
    if len(shape) != 4 or tensor.datatype not in IMAGE_DATATYPES:
        return f"the input {listed} is not an image with batch, channels, height and width"
    if shape[0] not in (-1, 1):
        return f"the input {listed} has a fixed batch of {shape[0]}"
    if shape[1] not in _CHANNELS and shape[3] not in _CHANNELS and -1 not in shape[1:]:
        return f"the input {listed} has neither 1 nor 3 channels"
    nhwc = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    channels = shape[3] if nhwc else shape[1]
    height, width = shape[1:3] if nhwc else shape[2:]
    keys = {"layout": "nhwc" if nhwc else "nchw", "color": "gray" if channels == 1 else "rgb"}
    reason = f"layout = {keys['layout']}: the input is {listed}"
    return ImageGuess(tensor, height, width, keys, [reason])
