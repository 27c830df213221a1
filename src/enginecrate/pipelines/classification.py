"""The pipeline of a classifier: a photo in, its best classes out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from enginecrate.errors import EngineRunFailed, LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.base import Classification, ClassificationResult, Limits, Prepared
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.labels import class_name
from enginecrate.values import DataType, PipelineSpec, Tensors, TensorSpec

__all__ = ["ClassificationPipeline"]

Scores = npt.NDArray[np.float64]

_DECIMALS = 6


class ClassificationPipeline:
    """Scores every class and answers the best. Immutable, so any number of threads may use it."""

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
            outputs: of the model; one of them has one number for each class.
            labels: one for each class; may be empty, then classes are called `class 0` and so on.
            limits: what one image may cost.

        Raises:
            PipelineInvalid: the section does not fit the model's inputs or outputs.
            LabelsInvalid: the number of labels is not the model's number of classes.
        """
        self._spec = spec
        self._labels = tuple(labels)
        self._input = ImageInput.create(spec, inputs, limits)
        self._output = _scores_output(outputs, len(labels))
        classes = _class_count(self._output)
        if labels and classes is not None:
            self._check_labels(classes)

    @property
    def image_input(self) -> ImageInput:
        """The whole of `prepare`."""
        return self._input

    @property
    def task(self) -> str:
        return "classification"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        tensors, geometry = self._input.prepare(payload)
        return Prepared(tensors, geometry)

    def finish(self, outputs: Tensors, context: Geometry) -> ClassificationResult:
        """Turn the numbers of one image into its best classes.

        Raises:
            EngineRunFailed: a score is not a finite number.
            LabelsInvalid: the model has another number of classes than there are labels.
        """
        raw = self.raw_scores(outputs)
        if self._labels:
            self._check_labels(raw.size)
        with np.errstate(invalid="ignore"):  # answered below, by an error
            scores = _activate(raw, self._spec.activation)
        if not np.isfinite(scores).all():
            raise EngineRunFailed(
                f"the model's output {self._output.name!r} holds numbers that are not finite "
                "(NaN or infinity); check the model, and its precision if it was converted"
            )
        best = _best_first(scores)[: self._spec.top_k]
        return ClassificationResult(
            context.width,
            context.height,
            [
                Classification(class_name(self._labels, index), index, round(score, _DECIMALS))
                for index, score in zip(best.tolist(), scores[best].tolist(), strict=True)
            ],
        )

    def raw_scores(self, outputs: Tensors) -> Scores:
        """The model's own number for each class, before the activation."""
        return np.asarray(outputs[self._output.name]).astype(np.float64).reshape(-1)

    def _check_labels(self, classes: int) -> None:
        if classes == len(self._labels):
            return
        hint = ""
        if classes == len(self._labels) + 1:
            hint = " (does class 0 stand for the background? Then name it so)"
        raise LabelsInvalid(
            f"[pipeline] labels has {len(self._labels)} names, and the model's output "
            f"{self._output} has {classes} classes{hint}; the two numbers must be equal"
        )


def _activate(raw: Scores, activation: str) -> Scores:
    """Scores from a model's numbers, without overflow for any finite ones."""
    if activation == "softmax":
        powers: Scores = np.exp(raw - raw.max())
        powers /= powers.sum()
        return powers
    if activation == "sigmoid":
        small = np.exp(-np.abs(raw))
        return np.where(raw >= 0, 1 / (1 + small), small / (1 + small))
    return raw


def _best_first(scores: Scores) -> npt.NDArray[np.intp]:
    """Class numbers, best score first; of equal scores the lower number first."""
    return np.argsort(-scores, kind="stable")


def _class_count(output: TensorSpec) -> int | None:
    sizes = output.shape[1:]
    return None if -1 in sizes else math.prod(sizes)


def _scores_output(outputs: Sequence[TensorSpec], labels: int) -> TensorSpec:
    """The output with one number for each class: (N, C), perhaps with further dimensions of 1."""
    fitting = [output for output in outputs if _may_be_scores(output)]
    if len(fitting) > 1 and labels:
        fitting = [output for output in fitting if _class_count(output) == labels] or fitting
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(map(str, outputs))
    if not fitting:
        raise PipelineInvalid(
            "[pipeline] task = 'classification' needs an output with one number for each class, "
            f"[batch, classes]; the model has {listed}; choose another task, or write a pipeline "
            "of your own ([pipeline] module)"
        )
    raise PipelineInvalid(
        f"[pipeline] task = 'classification': several outputs may hold the classes: {listed}; "
        "export the model with one of them only, or write a pipeline of your own "
        "([pipeline] module)"
    )


def _may_be_scores(output: TensorSpec) -> bool:
    rest = [size for size in output.shape[1:] if size != 1]
    numeric = output.datatype not in (DataType.BOOL, DataType.BYTES)
    return numeric and len(output.shape) >= 2 and len(rest) <= 1
