"""One photo's two results compared: the reference's, and the candidate's."""

from __future__ import annotations

import msgspec

from enginecrate.build.accuracy import OutputAccuracy, compare_outputs
from enginecrate.builder.golden.tolerance import Tolerance, differences, overlap_of, pair_boxes
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Result,
    TensorsResult,
)
from enginecrate.values import Tensors

__all__ = ["Comparison", "compare_results"]

_SAME_PLACE = Tolerance(score=float("inf"), iou=0.5)
"""Boxes of the same class with this overlap are the same box (PASCAL VOC's criterion)."""

_TOP = 5
_ALIKE = 0.99
"""Least cosine of raw tensors that count as the same although they leave the tolerance."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What one photo gave.

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


def compare_results(
    expected: Result,
    found: Result,
    outputs: tuple[Tensors, Tensors] | None,
    tolerance: Tolerance,
) -> Comparison:
    """Compare two results of one photo.

    Args:
        expected: the reference's.
        found: the candidate's.
        outputs: the reference's raw outputs and the candidate's, when they are at hand.
        tolerance: for raw tensors.
    """
    distances = compare_outputs(*outputs) if outputs else ()
    match expected, found:
        case DetectionResult(), DetectionResult():
            return _boxes(expected, found, distances)
        case ClassificationResult(), ClassificationResult():
            return _classes(expected, found, distances)
        case TensorsResult(), TensorsResult():
            alike = not differences(expected, found, tolerance) or _all_alike(distances)
            return Comparison(score=float(alike), hits=int(alike), wanted=1, found=1,
                              distances=distances)  # fmt: skip
    kinds = f"{type(found).__name__} instead of {type(expected).__name__}"
    return Comparison(score=0.0, hits=0, wanted=1, found=0, failure=kinds)


def _boxes(
    expected: DetectionResult, found: DetectionResult, distances: tuple[OutputAccuracy, ...]
) -> Comparison:
    wanted, given = expected.detections, found.detections
    pairs = pair_boxes(wanted, given, _SAME_PLACE)
    overlap = sum(overlap_of(wanted[mine], given[other]) for mine, other in pairs.items())
    either = len(wanted) + len(given)
    return Comparison(
        score=2 * len(pairs) / either if either else 1.0,
        hits=len(pairs),
        wanted=len(wanted),
        found=len(given),
        overlap=overlap,
        distances=distances,
    )


def _classes(
    expected: ClassificationResult,
    found: ClassificationResult,
    distances: tuple[OutputAccuracy, ...],
) -> Comparison:
    if not expected.classes or not found.classes:
        same = len(expected.classes) == len(found.classes)
        return Comparison(score=float(same), hits=int(same), wanted=1, found=1, top5=same,
                          distances=distances)  # fmt: skip
    best = expected.classes[0].class_id
    same = best == found.classes[0].class_id
    scores = {one.class_id: one.score for one in found.classes}
    # Of photos that disagree, those where the reference was surest are the worst.
    score = 1.0 if same else max(0.0, min(0.99, scores.get(best, 0.0)))
    return Comparison(
        score=score,
        hits=int(same),
        wanted=1,
        found=1,
        top5=best in [one.class_id for one in found.classes[:_TOP]],
        distances=distances,
    )


def _all_alike(distances: tuple[OutputAccuracy, ...]) -> bool:
    return bool(distances) and all((one.cosine or 0.0) >= _ALIKE for one in distances)
