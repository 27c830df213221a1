"""From an encoded image to the tensor that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.geometry import Geometry
from enginecrate.values import PipelineSpec, Tensors, TensorSpec

__all__ = ["Geometry", "ImageInput"]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Decodes, resizes and normalises images for one model input. Thread-safe.

    height, width: of the model's input, in pixels.
    """

    spec: PipelineSpec
    tensor: TensorSpec
    height: int
    width: int
    limits: Limits

    @classmethod
    def create(
        cls, spec: PipelineSpec, inputs: Sequence[TensorSpec], limits: Limits
    ) -> ImageInput:
        """Check a pipeline against the model's inputs.

        Raises:
            PipelineInvalid: the two do not fit; the message names the key and the cure.
        """
        raise NotImplementedError

    def prepare(self, payload: bytes | memoryview) -> tuple[Tensors, Geometry]:
        """Turn an encoded image into the model's input.

        Returns:
            The input by its name, with a batch dimension of 1 in front and C-contiguous; and
            the geometry that maps boxes back with `Geometry.boxes_to_image`.

        Raises:
            ImageUndecodable: the image is damaged.
            ImageTooLarge: it has more bytes or pixels than `limits` allows.
            ImageFormatUnsupported: it is not JPEG, PNG, WebP or BMP.
        """
        raise NotImplementedError
