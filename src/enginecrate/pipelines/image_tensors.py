"""The pipeline of a model without a reader of ours: a photo in, the model's own tensors out."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.pipelines.base import Limits, Prepared, SentImage, TensorsResult
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.tensors import tensor_result
from enginecrate.values import PipelineSpec, Tensors, TensorSpec

__all__ = ["ImagePipeline"]


class ImagePipeline:
    """Prepares a photo as the other tasks do and answers every output of the model as it is.

    Immutable, so any number of threads may use it.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        labels: Sequence[str],
        limits: Limits,
    ) -> None:
        """Check the pipeline against the model.

        Args:
            spec: the `[pipeline]` section.
            inputs: of the model; those that take no photo are in the section's `constants`.
            outputs: of the model.
            labels: not used.
            limits: what one image may cost.

        Raises:
            PipelineInvalid: the section does not fit the model's inputs.
        """
        self._input = ImageInput.create(spec, inputs, limits)
        self._outputs = tuple(outputs)

    @property
    def image_input(self) -> ImageInput:
        """The whole of `prepare`."""
        return self._input

    @property
    def task(self) -> str:
        return "image"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        tensors, geometry = self._input.prepare(payload)
        return Prepared(tensors, geometry)

    def finish(self, outputs: Tensors, context: Geometry) -> TensorsResult:
        """Every output in the model's order, and where the photo lies in the model's input."""
        return TensorsResult(
            [tensor_result(spec, outputs[spec.name]) for spec in self._outputs],
            SentImage(
                context.width,
                context.height,
                (context.scale_x, context.scale_y),
                (context.offset_x, context.offset_y),
            ),
        )
