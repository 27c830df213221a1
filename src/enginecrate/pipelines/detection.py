"""The pipeline of a detector: a photo in, boxes out."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.base import Detection, DetectionResult, Limits, Prepared
from enginecrate.pipelines.decoders.base import Candidates, Head
from enginecrate.pipelines.decoders.registry import OPEN_SIZE, create_decoder
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.labels import class_name
from enginecrate.pipelines.nms import best_first, nms
from enginecrate.values import PipelineSpec, Tensors, TensorSpec

__all__ = ["DetectionPipeline"]

_HIGHEST_SCORE = 1.01
"""Quantised models go a little over 1; more than that is no score."""


class DetectionPipeline:
    """Decode, threshold, suppress, map back. Immutable, so any number of threads may use it."""

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
            inputs: of the model.
            outputs: of the model.
            labels: one for each class; may be empty, then classes are called `class 0` and so on.
            limits: what one image may cost.

        Raises:
            PipelineInvalid: the section does not fit the model's inputs or outputs.
            LabelsInvalid: the number of labels is not the model's number of classes.
        """
        self._spec = spec
        self._labels = tuple(labels)
        self._input = ImageInput.create(spec, inputs, limits)
        if min(self._input.height, self._input.width) < 1 and spec.decoder not in OPEN_SIZE:
            raise PipelineInvalid(
                "[pipeline] resize = 'proportional' leaves the size of the model's input open, and "
                f"the decoder {spec.decoder!r} needs one; set size, for example size = [640, 640], "
                "and resize = 'letterbox'"
            )
        background = bool(labels) and labels[0].strip("_ ").lower() == "background"
        head = Head(
            outputs, self._input.height, self._input.width, len(labels), background=background
        )
        self._decoder = create_decoder(spec.decoder, spec.decoder_options, head)
        classes = self._decoder.classes
        if labels and classes not in (None, len(labels)):
            raise LabelsInvalid(
                f"[pipeline] labels has {len(labels)} labels, but the model has {classes} classes "
                f"({head}): the two numbers must be equal"
            )

    @property
    def image_input(self) -> ImageInput:
        """The whole of `prepare`."""
        return self._input

    @property
    def task(self) -> str:
        return "detection"

    @property
    def needs_nms(self) -> bool:
        """False when the model suppresses by itself, so that it may give no candidate at all."""
        return self._decoder.needs_nms

    def at_threshold(self, score_threshold: float) -> DetectionPipeline:
        """The same pipeline with another least score."""
        other = copy.copy(self)
        other._spec = msgspec.structs.replace(self._spec, score_threshold=score_threshold)
        return other

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        tensors, geometry = self._input.prepare(payload)
        return Prepared(tensors, geometry)

    def finish(self, outputs: Tensors, context: Geometry) -> DetectionResult:
        candidates = self._decoder.decode(outputs, self._spec.score_threshold)
        kept = self._suppress(candidates)
        boxes = context.boxes_to_image(candidates.boxes[kept])
        # A box in the letterbox border has no area left; a box that is not a number has none.
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        kept, boxes = kept[visible], boxes[visible]
        return DetectionResult(
            context.width,
            context.height,
            self._detections(boxes, candidates.scores[kept], candidates.classes[kept]),
        )

    def _suppress(self, candidates: Candidates) -> npt.NDArray[np.intp]:
        """The candidates that stay, best first."""
        if candidates.suppressed or not self._decoder.needs_nms:
            return best_first(candidates.scores)[: self._spec.max_detections]
        return nms(
            candidates.boxes,
            candidates.scores,
            None if self._spec.class_agnostic else candidates.classes,
            iou_threshold=self._spec.iou_threshold,
            max_detections=self._spec.max_detections,
        )

    def _detections(
        self,
        boxes: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        classes: npt.NDArray[np.intp],
    ) -> list[Detection]:
        if len(scores) and scores[0] > _HIGHEST_SCORE:
            raise PipelineInvalid(
                f"the model gave a score of {scores[0]:.3g}, but scores lie in 0..1: set "
                "[pipeline] decoder_options.activation, or correct the decoder's other options"
            )
        return [
            Detection(self._label(class_id), class_id, score, (x1, y1, x2, y2))
            for class_id, score, (x1, y1, x2, y2) in zip(
                classes.tolist(),
                np.minimum(scores, 1.0).astype(np.float64).round(4).tolist(),
                boxes.astype(np.float64).round(2).tolist(),
                strict=True,
            )
        ]

    def _label(self, class_id: int) -> str:
        if self._labels and class_id >= len(self._labels):
            raise LabelsInvalid(
                f"the model found class {class_id} (counted from 0), but [pipeline] labels has "
                f"only {len(self._labels)} labels"
            )
        return class_name(self._labels, class_id)
