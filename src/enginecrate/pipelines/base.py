"""The interface of a pipeline, and its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from enginecrate.values import PipelineSpec, Tensors, TensorSpec

__all__ = [
    "Classification",
    "ClassificationResult",
    "Detection",
    "DetectionResult",
    "Limits",
    "Pipeline",
    "PipelineFactory",
    "Prepared",
    "Result",
    "SentImage",
    "TensorResult",
    "TensorsResult",
]


class Detection(msgspec.Struct, frozen=True):
    """One object: its box is x1, y1, x2, y2 in pixels of the upright sent image."""

    label: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]


class Classification(msgspec.Struct, frozen=True):
    """One class and its score."""

    label: str
    class_id: int
    score: float


class DetectionResult(msgspec.Struct, frozen=True):
    """Every object found in one image, best score first. Width and height in pixels."""

    width: int
    height: int
    detections: list[Detection]


class ClassificationResult(msgspec.Struct, frozen=True):
    """The best classes of one image, best score first. Width and height in pixels."""

    width: int
    height: int
    classes: list[Classification]


class TensorResult(msgspec.Struct, frozen=True):
    """One output tensor: `data` is flat, row-major."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class SentImage(msgspec.Struct, frozen=True):
    """The upright photo that was sent, in pixels, and its place in the model's input.

    A point of the photo at (x, y) lies there at
    `(x * scale[0] + offset[0], y * scale[1] + offset[1])`.
    """

    width: int
    height: int
    scale: tuple[float, float]
    offset: tuple[float, float]


class TensorsResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The raw outputs. image: the photo that they are of, when one was sent."""

    outputs: list[TensorResult]
    image: SentImage | None = None


Result = DetectionResult | ClassificationResult | TensorsResult


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on a single image. They are checked before a pixel is decoded."""

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample, ready for an engine.

    tensors: one array for each model input, batch dimension (of 1) in front.
    context: whatever `finish` needs to know about this sample, for example its geometry.
    """

    tensors: Tensors
    context: Any


class Pipeline(Protocol):
    """Pre- and post-processing around an engine. Every method may be called from many threads."""

    @property
    def task(self) -> str: ...

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        """Turn what a client sent (an encoded image, or tensors) into model inputs.

        Raises:
            PipelineError: the payload cannot be used; one of its subclasses says why.
        """
        ...

    def finish(self, outputs: Tensors, context: Any) -> Result:
        """Turn the model's outputs for one sample (batch dimension of 1) into a result."""
        ...


PipelineFactory = Callable[
    [PipelineSpec, Sequence[TensorSpec], Sequence[TensorSpec], Sequence[str], Limits], Pipeline
]
"""`(spec, model inputs, model outputs, labels, limits)`: also the ISV's class's constructor."""
