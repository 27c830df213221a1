"""The input that takes a picture: layout, channels, size, and constants for the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from enginecrate.builder.scaffold.guess.evidence import Evidence
from enginecrate.builder.scaffold.guess.guesses import Answers, Guess
from enginecrate.graph.describe.stem import InputStem
from enginecrate.pipelines.constants import usual_constants
from enginecrate.pipelines.normalize import IMAGE_DATATYPES
from enginecrate.values import DataType, TensorSpec

__all__ = ["Picture", "find_picture", "guess_constants", "guess_size"]

_CHANNELS = (1, 3)

_SMALLEST_SIDE = 4

_MOST_CONSTANTS = 16
"""Numbers of an input that takes constants; more are data."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An input that takes a picture.

    others: the model's inputs that constants fill.
    height, width: -1 where the model leaves them open.
    layout: the guess about it.
    """

    tensor: TensorSpec
    stem: InputStem
    others: tuple[TensorSpec, ...]
    channels: int
    height: int
    width: int
    layout: Guess

    @property
    def takes_bytes(self) -> bool:
        """True when it takes pixel values as they are."""
        return self.tensor.datatype is DataType.UINT8


def find_picture(evidence: Evidence, answers: Answers) -> Picture | str:
    """The model's picture input; or why it has none that a built-in pipeline can fill."""
    listed = ", ".join(map(str, evidence.inputs))
    fitting = [tensor for tensor in evidence.inputs if not _unfit(tensor)]
    if not fitting:
        if len(evidence.inputs) == 1:
            return _unfit(evidence.inputs[0])
        return f"none of the inputs ({listed}) takes a picture"
    if len(fitting) > 1:
        return f"several inputs may take a picture: {', '.join(map(str, fitting))}"
    tensor = fitting[0]
    others = tuple(one for one in evidence.inputs if one.name != tensor.name)
    for other in others:
        sides = other.shape[1:] if other.shape[:1] == (-1,) else other.shape
        if other.datatype is DataType.BYTES or -1 in sides or math.prod(sides) > _MOST_CONSTANTS:
            return f"the input {other} beside the picture {tensor} takes data of its own"
    stem = evidence.stems.get(tensor.name, InputStem())
    layout = _layout(tensor, stem, answers)
    nhwc = layout.value == "nhwc"
    shape = _batched(tensor)
    channels = shape[3 if nhwc else 1]
    channels = channels if channels > 0 else stem.channels if stem.channels in _CHANNELS else 3
    height, width = shape[1:3] if nhwc else shape[2:]
    return Picture(tensor, stem, others, channels, height, width, layout)


def _batched(tensor: TensorSpec) -> tuple[int, ...]:
    """The shape with a batch of 1 in front, where an image in colour lacks it."""
    shape = tensor.shape
    without = len(shape) == 3 and shape[0] == 3 and all(s == -1 or s >= 32 for s in shape[1:])
    return (1, *shape) if without else shape


def _unfit(tensor: TensorSpec) -> str:
    """Why a tensor takes no picture; empty when it may."""
    shape = _batched(tensor)
    if len(shape) != 4 or tensor.datatype not in IMAGE_DATATYPES:
        return f"the input {tensor} is not an image with batch, channels, height and width"
    if shape[0] not in (-1, 1):
        return f"the input {tensor} has a fixed batch of {shape[0]}"
    if shape[1] not in _CHANNELS and shape[3] not in _CHANNELS and -1 not in (shape[1], shape[3]):
        return f"the input {tensor} has neither 1 nor 3 channels"
    sides = shape[2:] if shape[1] in _CHANNELS else shape[1:3]
    if any(0 <= side < _SMALLEST_SIDE for side in sides):
        return f"the input {tensor} is too small for a picture"
    return ""


def _layout(tensor: TensorSpec, stem: InputStem, answers: Answers) -> Guess:
    def guess(nhwc: bool, reason: str, certainty: Any) -> Guess:
        value, other = ("nhwc", "nchw") if nhwc else ("nchw", "nhwc")
        return Guess("layout", value, reason, certainty, (f'"{other}"',))

    if answers.layout is not None:
        return guess(answers.layout == "nhwc", "as you say", "sure")
    shape = _batched(tensor)
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first != last:
        return guess(last, f"the input is {tensor}", "sure")
    if stem.moved:
        return guess(True, f"the graph moves the axes of {tensor} before its first layer", "sure")
    if stem.channels in _CHANNELS:
        return guess(False, f"the first layer reads {tensor} as it is", "sure")
    return guess(False, f"the input is {tensor}; assumed", "likely")


def guess_size(picture: Picture, evidence: Evidence, answers: Answers, usual: int) -> Guess | None:
    """Height and width where the model leaves one open; `None` where it does not."""
    if picture.height > 0 and picture.width > 0:
        return None
    if answers.size is not None:
        return Guess("size", answers.size, "as you say", "sure")
    told = evidence.metadata.size
    if told is not None and _fits(told, picture):
        words = f"the model's metadata says {evidence.metadata.size_key}"
        return Guess("size", told, words, "sure")
    side = _side_from_boxes(evidence)
    if side and _fits((side, side), picture):
        return Guess("size", (side, side), "this size gives the model's number of boxes", "likely")
    proposal = (
        picture.height if picture.height > 0 else usual,
        picture.width if picture.width > 0 else usual,
    )
    open_sides = " and ".join(
        name for name, side in (("height", picture.height), ("width", picture.width)) if side < 1
    )
    return Guess(
        "size", proposal,
        f"the model leaves {open_sides} open and does not tell which it was trained with",
        "unknown", ("[height, width] of its training",), "--size HEIGHTxWIDTH",
    )  # fmt: skip


def _fits(size: tuple[int, int], picture: Picture) -> bool:
    return all(
        have in (-1, want) for want, have in zip(size, (picture.height, picture.width), strict=True)
    )


def _side_from_boxes(evidence: Evidence) -> int:
    """A square input's side that gives the number of boxes; 0 where they do not tell."""
    sizes = [size for output in evidence.outputs for size in output.shape[1:]]
    for side in range(160, 1601, 32):
        cells = [(side // stride) ** 2 for stride in (8, 16, 32)]
        if sum(cells) in sizes or 3 * sum(cells) in sizes or set(cells) <= set(sizes):
            return side
    return 0


def guess_constants(picture: Picture, answers: Answers, size: tuple[int, int]) -> list[Guess]:
    """The values of the inputs beside the picture; one guess, or none when there are no others."""
    if not picture.others:
        return []
    usual: Mapping[str, Any] = usual_constants(picture.others, size)
    values = {name: answers.constants.get(name, value) for name, value in usual.items()}
    open_names = [
        name for name, value in usual.items() if name not in answers.constants and not np.any(value)
    ]
    listed = ", ".join(map(str, picture.others))
    if open_names:
        return [
            Guess(
                "constants", values,
                f"besides the picture the model takes {listed}; its authors know the values",
                "unknown", (), f"--constant {open_names[0]}=VALUE",
            )
        ]  # fmt: skip
    given = set(values) <= set(answers.constants)
    reason = "as you say" if given else f"the custom for inputs of these names: {listed}"
    return [Guess("constants", values, reason, "sure" if given else "likely")]
