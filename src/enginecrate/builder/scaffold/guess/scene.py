"""The outputs of a model, in which heads of detectors are looked for; the marks of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from enginecrate.builder.scaffold.guess.evidence import Evidence, Output
from enginecrate.builder.scaffold.guess.guesses import Answers, Certainty
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.decoders.base import Decoder, Head
from enginecrate.pipelines.decoders.registry import create_decoder

__all__ = ["CLOSE", "Boxes", "Floats", "Scene", "inside", "normalised", "whole"]

Floats = npt.NDArray[np.float64]

CLOSE = 0.01
"""Distance from 0 and 1 that rounding and quantising make."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """A decoder that reads a model.

    family: whose custom decides about pixels and the resize.
    options_reason, options_certainty: of the decoder's options.
    others: other values of the options, in words.
    options_flag: the option of `init` that answers them.
    """

    decoder: str
    family: str
    reason: str
    certainty: Certainty
    options: dict[str, Any] = field(default_factory=dict)
    options_reason: str = ""
    options_certainty: Certainty = "likely"
    others: tuple[str, ...] = ()
    options_flag: str = "--activation softmax|sigmoid|none"


@dataclass(frozen=True, slots=True)
class Scene:
    """The outputs, and what else is known about the model."""

    outputs: Sequence[Output]
    height: int
    width: int
    evidence: Evidence
    answers: Answers

    @property
    def labels(self) -> int:
        """The number of class names, as far as it is known; else 0."""
        return self.answers.labels or len(self.evidence.metadata.labels)

    @property
    def head(self) -> Head:
        """The outputs with the sizes of the run."""
        return Head([one.runtime_spec for one in self.outputs], self.height, self.width)

    @property
    def ran(self) -> bool:
        return any(output.arrays for output in self.outputs)

    def decoder(self, name: str, options: dict[str, Any]) -> Decoder | None:
        """A decoder, if it reads such outputs."""
        try:
            return create_decoder(name, options, self.head)
        except EnginecrateError:
            return None


def inside(array: Floats) -> bool:
    """True when all numbers lie in 0..1."""
    return bool(array.size == 0 or (array.min() >= -CLOSE and array.max() <= 1 + CLOSE))


def whole(array: Floats) -> bool:
    """True for numbers of classes, or -1 for rows that only fill up."""
    return bool(
        array.size == 0 or (np.abs(array - np.rint(array)).max() < 1e-3 and array.min() >= -1)
    )


def normalised(boxes: Sequence[Floats]) -> str:
    """Why boxes are parts of the input's sides, not pixels; empty when they are not."""
    known = [part for part in boxes if part.size]
    if known and all(np.abs(part).max() <= 2 for part in known):
        return "no box is larger than 2: they are parts of the input's sides, not pixels"
    return ""
