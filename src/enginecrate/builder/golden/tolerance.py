"""When a result counts as the expected one. Pure rules, without files or engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    Result,
    TensorResult,
    TensorsResult,
)
from enginecrate.values import Array

__all__ = ["Tolerance", "differences", "overlap_of", "pair_boxes"]

_TEXTS = {"BYTES", "BOOL"}


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The distance that a result may have from the expected one.

    score: largest difference of a score.
    iou: least overlap of a box with the expected box (intersection over union).
    threshold: the score below which the pipeline reports no box, if it is known. A box within
        `score` of it may appear or vanish; without a threshold none may.
    relative, absolute: for raw tensors, `|found - expected| <= absolute + relative * |expected|`.
    """

    score: float = 0.05
    iou: float = 0.9
    threshold: float | None = None
    relative: float = 1e-3
    absolute: float = 1e-3


def differences(expected: Result, actual: Result, tolerance: Tolerance) -> list[str]:
    """Every way in which `actual` is not what was expected; empty when it matches.

    Detections: each expected box needs a found box of its own with the same class, IoU >=
    `tolerance.iou` and a score within `tolerance.score`. Classes: the same classes with scores
    within `tolerance.score`, where those with less than that may come and go at the end of the
    list, and the same best one unless another was expected to be that close. Tensors: the same
    names, datatypes and shapes, and values within the tolerance; values that are not finite are
    all the same, since JSON cannot tell them apart.
    """
    match expected, actual:
        case DetectionResult(), DetectionResult():
            sizes = _size_difference(expected, actual)
            return [*sizes, *_box_differences(expected.detections, actual.detections, tolerance)]
        case ClassificationResult(), ClassificationResult():
            sizes = _size_difference(expected, actual)
            return [*sizes, *_class_differences(expected.classes, actual.classes, tolerance)]
        case TensorsResult(), TensorsResult():
            return list(_tensors_differences(expected.outputs, actual.outputs, tolerance))
    return [f"expected a {type(expected).__name__}, found a {type(actual).__name__}"]


def _size_difference(
    expected: DetectionResult | ClassificationResult, actual: DetectionResult | ClassificationResult
) -> list[str]:
    want, have = (expected.width, expected.height), (actual.width, actual.height)
    if want == have:
        return []
    return [f"expected an image of {want[0]}x{want[1]} pixels, found {have[0]}x{have[1]}"]


def _box_differences(
    expected: Sequence[Detection], actual: Sequence[Detection], tolerance: Tolerance
) -> Iterator[str]:
    pairs = pair_boxes(expected, actual, tolerance)
    for number, other in pairs.items():
        want, have = expected[number], actual[other]
        if abs(want.score - have.score) > tolerance.score:
            yield (
                f"{_describe(have)} was expected with the score {want.score:.2f}"
                f"{_score_words(tolerance)}"
            )
    for number, box in enumerate(expected):
        if number not in pairs and not _may_vanish(box.score, tolerance):
            yield (
                f"no box for the expected {_describe(box)}{_nearest(box, actual)} "
                f"(tolerance: iou {tolerance.iou:g})"
            )
    for number, box in enumerate(actual):
        if number not in pairs.values() and not _may_vanish(box.score, tolerance):
            yield f"found {_describe(box)}, which was not expected{_score_words(tolerance)}"


def pair_boxes(
    expected: Sequence[Detection], actual: Sequence[Detection], tolerance: Tolerance
) -> dict[int, int]:
    """Pairs of expected and found boxes of the same class in the same place, each in one pair.

    Pairs whose scores match come first, then the best overlaps.
    """
    fitting = [
        (abs(want.score - have.score) > tolerance.score, -overlap, mine, other)
        for mine, want in enumerate(expected)
        for other, have in enumerate(actual)
        if (want.class_id, want.label) == (have.class_id, have.label)
        and (overlap := overlap_of(want, have)) >= tolerance.iou
    ]
    pairs: dict[int, int] = {}
    for _, _, mine, other in sorted(fitting):
        if mine not in pairs and other not in pairs.values():
            pairs[mine] = other
    return pairs


def overlap_of(first: Detection, second: Detection) -> float:
    """Intersection over union of two boxes, 0..1."""
    left, top = max(first.box[0], second.box[0]), max(first.box[1], second.box[1])
    right, bottom = min(first.box[2], second.box[2]), min(first.box[3], second.box[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    union = _area(first) + _area(second) - shared
    if union > 0:
        return shared / union
    return 1.0 if first.box == second.box else 0.0


def _area(detection: Detection) -> float:
    x1, y1, x2, y2 = detection.box
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def _may_vanish(score: float, tolerance: Tolerance) -> bool:
    return tolerance.threshold is not None and score <= tolerance.threshold + tolerance.score


def _describe(detection: Detection) -> str:
    edges = ", ".join(f"{edge:.0f}" for edge in detection.box)
    return f"{detection.label} {detection.score:.2f} at [{edges}]"


def _nearest(box: Detection, boxes: Sequence[Detection]) -> str:
    if not boxes:
        return "; nothing was found"
    best = max(boxes, key=lambda other: (overlap_of(box, other), other.score))
    overlap = overlap_of(box, best)
    if overlap == 0:
        return "; nothing was found there"
    return f"; the nearest found is {_describe(best)}, IoU {overlap:.2f}"


def _class_differences(
    expected: Sequence[Classification], actual: Sequence[Classification], tolerance: Tolerance
) -> Iterator[str]:
    want = {(entry.class_id, entry.label): entry.score for entry in expected}
    have = {(entry.class_id, entry.label): entry.score for entry in actual}
    for key, score in want.items():
        if key in have:
            if abs(score - have[key]) > tolerance.score:
                yield (
                    f"{key[1]} has the score {have[key]:.3f}, expected {score:.3f}"
                    f"{_score_words(tolerance)}"
                )
        elif score > tolerance.score:
            yield (
                f"{key[1]} is missing, expected with the score {score:.3f}{_score_words(tolerance)}"
            )
    for key, score in have.items():
        if key not in want and score > tolerance.score:
            yield (
                f"found {key[1]} with the score {score:.3f}, which was not expected"
                f"{_score_words(tolerance)}"
            )
    yield from _best_difference(expected, actual, tolerance)


def _best_difference(
    expected: Sequence[Classification], actual: Sequence[Classification], tolerance: Tolerance
) -> Iterator[str]:
    """Another best class is fine only when both were expected to be nearly the same."""
    if not expected or not actual or expected[0].class_id == actual[0].class_id:
        return
    scores = {entry.class_id: entry.score for entry in expected}
    if expected[0].score - scores.get(actual[0].class_id, -1.0) > tolerance.score:
        yield (
            f"the best class is {actual[0].label}, expected {expected[0].label}"
            f"{_score_words(tolerance)}"
        )


def _tensors_differences(
    expected: Sequence[TensorResult], actual: Sequence[TensorResult], tolerance: Tolerance
) -> Iterator[str]:
    have = {tensor.name: tensor for tensor in actual}
    for tensor in expected:
        other = have.pop(tensor.name, None)
        if other is None:
            yield f"output {tensor.name!r} is missing"
        elif reason := _tensor_difference(tensor, other, tolerance):
            yield f"output {tensor.name!r}: {reason}"
    for name in have:
        yield f"output {name!r} was not expected"


def _tensor_difference(expected: TensorResult, actual: TensorResult, tolerance: Tolerance) -> str:
    want, have = (f"{tensor.datatype} {tensor.shape}" for tensor in (expected, actual))
    if want != have:
        return f"expected {want}, found {have}"
    if len(expected.data) != len(actual.data):
        return f"expected {len(expected.data)} values, found {len(actual.data)}"
    if expected.datatype in _TEXTS:
        wrong = [at for at, pair in enumerate(zip(expected.data, actual.data, strict=True))
                 if pair[0] != pair[1]]  # fmt: skip
        return _count(expected, actual, wrong, wrong[0]) if wrong else ""
    expected_values, actual_values = _numbers(expected), _numbers(actual)
    allowed = tolerance.absolute + tolerance.relative * np.abs(expected_values)
    apart = np.abs(expected_values - actual_values)
    fits = (apart <= allowed) | (np.isnan(expected_values) & np.isnan(actual_values))
    if fits.all():
        return ""
    wrong = np.flatnonzero(~fits).tolist()
    worst = int(np.argmax(np.where(fits, -1.0, np.nan_to_num(apart, nan=np.inf))))
    allowed_words = f"relative {tolerance.relative:g}, absolute {tolerance.absolute:g}"
    return f"{_count(expected, actual, wrong, worst)} (tolerance: {allowed_words})"


def _score_words(tolerance: Tolerance) -> str:
    """The tolerance that was missed, by its name in `golden.json`."""
    return f" (tolerance: score {tolerance.score:g})"


def _count(expected: TensorResult, actual: TensorResult, wrong: list[int], worst: int) -> str:
    return (
        f"{len(wrong)} of {len(expected.data)} values differ, above all number {worst}: "
        f"expected {expected.data[worst]}, found {actual.data[worst]}"
    )


def _numbers(tensor: TensorResult) -> Array:
    """Values as float64; JSON's null (a number that was not finite) and infinities become NaN."""
    values = np.array([np.nan if item is None else item for item in tensor.data], np.float64)
    values[~np.isfinite(values)] = np.nan
    return values
