"""How pixel values enter a model: colour order, mean and std, and the resize before."""

from __future__ import annotations

import numpy as np

from enginecrate.builder.scaffold.guess.evidence import Evidence
from enginecrate.builder.scaffold.guess.guesses import Answers, Certainty, Guess
from enginecrate.builder.scaffold.guess.picture import Picture
from enginecrate.values import DataType

__all__ = [
    "IMAGENET",
    "MINUS_ONE_TO_ONE",
    "RAW",
    "ZERO_TO_ONE",
    "Numbers",
    "guess_color",
    "guess_pixels",
]

Numbers = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: Numbers = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
ZERO_TO_ONE: Numbers = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
MINUS_ONE_TO_ONE: Numbers = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
RAW: Numbers = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

_MEAN_OTHERS = (
    "[123.675, 116.28, 103.53] (ImageNet, as PyTorch has it)",
    "[0, 0, 0] (pixel values as they are, or 0..1: std decides)",
    "[127.5, 127.5, 127.5] (-1..1)",
    '[103.939, 116.779, 123.68] (Caffe and old Keras, with color = "bgr")',
)
_STD_OTHERS = (
    "[58.395, 57.12, 57.375] (ImageNet)",
    "[255, 255, 255] (0..1)",
    "[127.5, 127.5, 127.5] (-1..1)",
    "[1, 1, 1] (pixel values as they are, or Caffe)",
)


def guess_color(
    picture: Picture, answers: Answers, custom: str, why: str, certainty: Certainty = "likely"
) -> Guess:
    """The order of the channels.

    Args:
        picture: the input.
        answers: what the user says.
        custom: of such models, `rgb` or `bgr`.
        why: the reason for it.
        certainty: of that.
    """
    if picture.channels == 1:
        return Guess("color", "gray", "the input has one channel", "sure")
    if answers.color in ("rgb", "bgr"):
        return Guess("color", answers.color, "as you say", "sure")
    other = '"bgr" (as OpenCV and Caffe have it)' if custom == "rgb" else '"rgb"'
    return Guess("color", custom, why, certainty, (other,))


def guess_pixels(
    picture: Picture, evidence: Evidence, custom: Numbers, why: str, certainty: Certainty
) -> list[Guess]:
    """The guesses for mean and std: what the model says, else the custom of its family."""
    (mean, std), why, certainty = _numbers(picture, evidence, custom, why, certainty)
    if picture.channels == 1:
        mean, std = _single(mean), _single(std)
    return [
        Guess("mean", mean, why, certainty, _MEAN_OTHERS),
        Guess("std", std, why, certainty, _STD_OTHERS),
    ]


def _single(values: tuple[float, ...]) -> tuple[float, ...]:
    """One number for a grey image; the ImageNet numbers of three colours are no custom there."""
    if len(set(values)) == 1:
        return values[:1]
    return (0.0,) if max(values) > 100 else (255.0,)


def _numbers(
    picture: Picture, evidence: Evidence, custom: Numbers, why: str, certainty: Certainty
) -> tuple[Numbers, str, Certainty]:
    if picture.tensor.datatype not in (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64):
        return RAW, "the input takes bytes as they are", "sure"
    metadata = evidence.metadata
    if metadata.mean and metadata.std and min(metadata.std) > 0:
        factor = 255.0 if max(metadata.std) <= 1 and max(map(abs, metadata.mean)) <= 1 else 1.0
        mean, std = (
            tuple(round(one * factor, 4) for one in (values * 3)[:3])
            for values in (metadata.mean, metadata.std)
        )
        return (mean, std), "the model's metadata says so", "sure"
    if told := _told_by_graph(picture):
        return told
    return custom, why, certainty


def _told_by_graph(picture: Picture) -> tuple[Numbers, str, Certainty] | None:
    """A model that scales pixels itself takes them as they are, or in 0..1."""
    stem = picture.stem
    if stem.scale is None or stem.shift is None:
        return None
    scale = float(np.abs(stem.scale).mean())
    shift = float(np.abs(stem.shift).mean())
    steps = ", ".join(stem.operators)
    certainty: Certainty = "likely" if "BatchNormalization" in stem.operators else "sure"
    if scale < 0.06 or (0.9 < scale < 1.1 and shift > 20):
        return RAW, f"the model scales pixel values in 0..255 itself ({steps})", certainty
    if scale > 1.1 or (0.9 < scale <= 1.1 and 0 < shift < 2):
        return ZERO_TO_ONE, f"the model shifts values in 0..1 itself ({steps})", certainty
    return None
