"""A candidate is compared with the reference, sample by sample: results, and raw outputs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from enginecrate.builder.golden.tolerance import Tolerance, differences, overlap_of, pair_boxes
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Result,
    TensorsResult,
)
from enginecrate.values import Array, Tensors

__all__ = [
    "Accuracy",
    "Comparison",
    "SampleAccuracy",
    "compare_outputs",
    "compare_results",
    "summarize",
]

_SAME_PLACE = Tolerance(score=float("inf"), iou=0.5)
"""Boxes of the same class with this overlap are the same box (PASCAL VOC's criterion)."""

_TOP = 5

_ALIKE = 0.99
"""Least cosine of raw tensors that count as the same although they leave the tolerance."""


class OutputAccuracy(msgspec.Struct, frozen=True):
    """One output tensor on one sample, rounded to 4 digits; `None`: not a number.

    max_abs: largest absolute difference.
    relative_l2: length of the difference over the length of the reference (Euclidean norm).
    cosine: of the angle between both, taken as vectors; 1 is best.
    """

    name: str
    max_abs: float | None
    relative_l2: float | None
    cosine: float | None


class SampleAccuracy(msgspec.Struct, frozen=True):
    """One sample. `agrees`: whether both results match; `None` when there are only tensors."""

    sample: str
    agrees: bool | None
    reasons: tuple[str, ...]
    outputs: tuple[OutputAccuracy, ...]


class Accuracy(msgspec.Struct, frozen=True):
    """All samples. `agreement`: the share of results that match; `None` without golden samples."""

    agreement: float | None
    required: float
    samples: tuple[SampleAccuracy, ...]

    @property
    def counted(self) -> str:
        """The results that match, counted: golden samples are few, and few make no percentage."""
        judged = [sample.agrees for sample in self.samples if sample.agrees is not None]
        return f"{sum(judged)} of {len(judged)}"

    @property
    def sufficient(self) -> bool:
        """True when the agreement is what the manifest asks for, as far as it is known."""
        return self.agreement is None or self.agreement >= self.required


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of both results of one photo.

    score: how alike both results are, 0..1; the gate's own measure for this photo.
    hits, wanted: things of the reference that were found, and how many there were.
    found: how many things the candidate found. overlap: sum of the hits' IoU.
    top5: whether the reference's best class is among the candidate's five best.
    distances: of the output tensors; empty when they were not compared.
    failure: why the candidate gave no result at all.
    """

    score: float
    hits: int
    wanted: int
    found: int
    overlap: float = 0.0
    top5: bool = False
    distances: tuple[OutputAccuracy, ...] = ()
    failure: str = ""


def summarize(samples: Sequence[SampleAccuracy], required: float) -> Accuracy:
    """Put the samples together. `required`: least share of results that must match, 0..1."""
    judged = [sample.agrees for sample in samples if sample.agrees is not None]
    agreement = sum(judged) / len(judged) if judged else None
    return Accuracy(agreement, required, tuple(samples))


def compare_outputs(reference: Tensors, candidate: Tensors) -> tuple[OutputAccuracy, ...]:
    """Compare every output of one run; both have the same names and shapes."""
    return tuple(_compare(name, reference[name], candidate[name]) for name in reference)


def compare_results(
    reference: Result,
    candidate: Result,
    outputs: tuple[Tensors, Tensors] | None,
    tolerance: Tolerance,
) -> Comparison:
    """Compare two results of one photo.

    Args:
        reference: the reference's.
        candidate: the candidate's.
        outputs: the reference's raw outputs and the candidate's, when they are at hand.
        tolerance: for raw tensors.
    """
    distances = compare_outputs(*outputs) if outputs else ()
    match reference, candidate:
        case DetectionResult(), DetectionResult():
            return _boxes(reference, candidate, distances)
        case ClassificationResult(), ClassificationResult():
            return _classes(reference, candidate, distances)
        case TensorsResult(), TensorsResult():
            alike = not differences(reference, candidate, tolerance) or _all_alike(distances)
            return Comparison(score=float(alike), hits=int(alike), wanted=1, found=1,
                              distances=distances)  # fmt: skip
    kinds = f"{type(candidate).__name__} instead of {type(reference).__name__}"
    return Comparison(score=0.0, hits=0, wanted=1, found=0, failure=kinds)


def _compare(name: str, reference: Array, candidate: Array) -> OutputAccuracy:
    if reference.dtype == object:  # texts have no distance
        same = bool((reference == candidate).all())
        return OutputAccuracy(name, *((0.0, 0.0, 1.0) if same else (None, None, None)))
    reference_values = reference.astype(np.float64).ravel()
    candidate_values = candidate.astype(np.float64).ravel()
    # What is equal, infinities included, has no distance; NaN on both sides counts as equal.
    same_values = (reference_values == candidate_values) | (
        np.isnan(reference_values) & np.isnan(candidate_values)
    )
    if same_values.all():
        return OutputAccuracy(name, 0.0, 0.0, 1.0)
    difference = np.subtract(
        candidate_values, reference_values, out=np.zeros_like(reference_values), where=~same_values
    )
    length, product = (
        float(np.linalg.norm(reference_values)),
        float(reference_values @ candidate_values),
    )
    lengths = length * float(np.linalg.norm(candidate_values))
    return OutputAccuracy(
        name,
        _rounded(float(np.abs(difference).max())),
        _rounded(float(np.linalg.norm(difference)) / length if length else np.inf),
        _rounded(product / lengths if lengths else 0.0),
    )


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _boxes(
    reference: DetectionResult, candidate: DetectionResult, distances: tuple[OutputAccuracy, ...]
) -> Comparison:
    reference_boxes, candidate_boxes = reference.detections, candidate.detections
    pairs = pair_boxes(reference_boxes, candidate_boxes, _SAME_PLACE)
    overlap = sum(
        overlap_of(reference_boxes[mine], candidate_boxes[other]) for mine, other in pairs.items()
    )
    either = len(reference_boxes) + len(candidate_boxes)
    return Comparison(
        score=2 * len(pairs) / either if either else 1.0,
        hits=len(pairs),
        wanted=len(reference_boxes),
        found=len(candidate_boxes),
        overlap=overlap,
        distances=distances,
    )


def _classes(
    reference: ClassificationResult,
    candidate: ClassificationResult,
    distances: tuple[OutputAccuracy, ...],
) -> Comparison:
    if not reference.classes or not candidate.classes:
        same = len(reference.classes) == len(candidate.classes)
        return Comparison(score=float(same), hits=int(same), wanted=1, found=1, top5=same,
                          distances=distances)  # fmt: skip
    best = reference.classes[0].class_id
    same = best == candidate.classes[0].class_id
    scores = {one.class_id: one.score for one in candidate.classes}
    # Of photos that disagree, those where the reference was surest are the worst.
    score = 1.0 if same else max(0.0, min(0.99, scores.get(best, 0.0)))
    return Comparison(
        score=score,
        hits=int(same),
        wanted=1,
        found=1,
        top5=best in [one.class_id for one in candidate.classes[:_TOP]],
        distances=distances,
    )


def _all_alike(distances: tuple[OutputAccuracy, ...]) -> bool:
    return bool(distances) and all((one.cosine or 0.0) >= _ALIKE for one in distances)
