"""The interface of a decoder, and its candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from enginecrate.values import Tensors, TensorSpec

__all__ = ["Candidates", "Decoder", "DecoderFactory", "Floats", "Head", "Indices"]

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a detection model, as far as a decoder needs to know it.

    outputs: in the model's order, batch dimension in front.
    height, width: of the model's input, in pixels.
    labels: how many labels the app has; 0 when it has no labels file.
    background: the first label names the background, as in torchvision's lists.
    """

    outputs: Sequence[TensorSpec]
    height: int
    width: int
    labels: int = 0
    background: bool = False

    def __str__(self) -> str:
        return "; ".join(map(str, self.outputs))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes whose score reaches the threshold, in no special order.

    boxes: (N, 4) float32, each x1, y1, x2, y2 in pixels of the model's input; not clipped.
    scores: (N,) float32.
    classes: (N,) index of the label.
    suppressed: none of them stands for the same object as another, although the decoder's
        `needs_nms` could not promise it before it saw the outputs.
    """

    boxes: Floats
    scores: Floats
    classes: Indices
    suppressed: bool = False


class Decoder(Protocol):
    """Reads a model's outputs as candidates. Immutable, so any number of threads may use it."""

    @property
    def classes(self) -> int | None:
        """The number of labels that the model needs; `None` when its outputs do not tell."""
        ...

    @property
    def needs_nms(self) -> bool:
        """True when several candidates may stand for one object."""
        ...

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        """Read the outputs for one sample.

        Args:
            outputs: by name, with a batch dimension of 1.
            score_threshold: candidates below it are left out, before the costly part.

        Raises:
            PipelineInvalid: an output has another shape than the model promised.
        """
        ...


DecoderFactory = Callable[[Mapping[str, Any], Head], Decoder]
"""`(decoder_options, head)`. Raises `PipelineInvalid` when the options or the head do not fit."""
