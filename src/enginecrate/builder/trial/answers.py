"""Rules about one answer: what every result and every output of a model must keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from enginecrate.builder.trial.batches import LEAST
from enginecrate.builder.trial.findings import Finding
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    Result,
    TensorsResult,
)
from enginecrate.values import Array, PipelineSpec, Tensors, TensorSpec

__all__ = ["check_outputs", "check_result", "far"]

_ROUNDED = 0.01
"""Quantised models go a little over 1, and below 0."""

_FAR = 0.02
"""Share of an output's length that the difference of two computations may have."""

_EDGE_PIXELS = 1.0
"""A box may be rounded over the edge by this much."""


def far(expected: Array, found: Array) -> bool:
    """True when two computations of one output differ by more than rounding can explain.

    Single numbers may: behind a steep function, and where two candidates change places.
    """
    if expected.shape != found.shape:
        return True
    if expected.dtype == object or expected.dtype.kind in "bSU":
        return bool((expected != found).mean() > _FAR) if expected.size else False
    first, second = expected.astype(np.float64), found.astype(np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    if np.array_equal(np.isfinite(first), np.isfinite(second)) and not both.any():
        return False
    length = float(np.linalg.norm(first[both]))
    allowed = _FAR * length + LEAST * float(both.sum()) ** 0.5
    return float(np.linalg.norm(first[both] - second[both])) > allowed or bool(
        (np.isfinite(first) != np.isfinite(second)).mean() > _FAR
    )


def check_outputs(
    outputs: Tensors, specs: Sequence[TensorSpec], sample: str, *, real: bool
) -> Iterator[Finding]:
    """Check the raw outputs of one sample: shapes as promised, finite numbers.

    Args:
        outputs: of a batch of 1.
        specs: the model's promise.
        sample: its name.
        real: false for made-up tensors, whose outputs may well be NaN.
    """
    for spec in specs:
        array = outputs[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            yield Finding(
                "shape",
                sample,
                f"the output {spec} has the shape {list(array.shape)}: the model does not keep "
                "what it promises; export it again with the sizes left open",
            )
        if array.dtype.kind not in "fc" or array.size == 0:
            continue
        wrong = int(array.size - np.isfinite(array.astype(np.float32)).sum())
        if wrong:
            all_wrong = wrong == array.size
            yield Finding(
                "not-finite",
                sample,
                f"{wrong} of {array.size} numbers of the output {spec.name!r} are NaN or infinite; "
                "check mean and std of [pipeline], and the precision if it was converted",
                fault=real and all_wrong,
            )


def check_result(result: Result, spec: PipelineSpec, sample: str) -> Iterator[Finding]:
    """Check one result: finite numbers, scores in 0..1, boxes inside of the picture."""
    match result:
        case DetectionResult(width, height, detections):
            yield from _check_scores(detections, spec, sample)
            yield from _check_boxes(detections, width, height, sample)
        case ClassificationResult(_, _, classes):
            yield from _check_scores(classes, spec, sample)
        case TensorsResult():
            pass  # the outputs themselves


def _check_scores(
    things: Sequence[Detection | Classification], spec: PipelineSpec, sample: str
) -> Iterator[Finding]:
    scores = np.array([float(one.score) for one in things], np.float64)
    if not np.isfinite(scores).all():
        yield Finding("not-finite", sample, "a score is NaN or infinite", fault=True)
    wrong = scores[(scores < -_ROUNDED) | (scores > 1 + _ROUNDED)]
    if wrong.size:
        cure = "make finish() return scores in 0..1"
        if spec.module is None:
            cure = 'set [pipeline] activation = "softmax", or "sigmoid" for classes that may be '
            cure += "true at once" if spec.task == "classification" else ""
            if spec.task == "detection":
                cure = "set [pipeline] decoder_options.activation"
        yield Finding(
            "score",
            sample,
            f"a score is {wrong[0]:.4g}, and scores lie in 0..1; {cure}",
            fault=True,
        )


def _check_boxes(
    detections: Sequence[Detection], width: int, height: int, sample: str
) -> Iterator[Finding]:
    boxes = np.array([one.box for one in detections], np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        yield Finding(
            "not-finite", sample, "a box has a corner that is NaN or infinite", fault=True
        )
        return
    far = np.array([width, height, width, height]) + _EDGE_PIXELS
    outside = (boxes < -_EDGE_PIXELS).any(axis=1) | (boxes > far).any(axis=1)
    turned = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    wrong = boxes[outside | turned]
    if len(wrong):
        shown = ", ".join(f"{corner:.1f}" for corner in wrong[0])
        yield Finding(
            "box",
            sample,
            f"the box {shown} does not lie in the picture of {width}x{height} pixels; boxes are "
            "x1, y1, x2, y2 in pixels of the upright photo",
            fault=True,
        )
