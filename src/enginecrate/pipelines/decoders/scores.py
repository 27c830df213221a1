"""From a table of scores to the few (row, class) pairs that reach the threshold."""

from __future__ import annotations

import math

import numpy as np

from enginecrate.pipelines.decoders.base import Floats, Indices
from enginecrate.pipelines.nms import MAX_CANDIDATES

__all__ = ["logit", "select", "select_objects", "sigmoid", "softmax"]

Selected = tuple[Indices, Indices, Floats]


def select(scores: Floats, threshold: float, *, multi_label: bool) -> Selected:
    """Pick what reaches the threshold: at most `MAX_CANDIDATES`, the best ones.

    One comparison of the whole table comes first; everything after it touches only the few
    pairs that pass.

    Args:
        scores: (rows, classes), C- or Fortran-contiguous for speed.
        threshold: a pair passes when its score is equal or greater.
        multi_label: a row may pass with several classes; otherwise only with its best one.

    Returns:
        Rows, classes and scores, each (N,), in order of the rows.
    """
    row_count, class_count = scores.shape
    passing = scores >= threshold
    if not multi_label and np.count_nonzero(passing) > row_count:
        rows, classes = _best_of_rows(scores, threshold)
    elif passing.flags.c_contiguous:
        rows, classes = np.divmod(np.flatnonzero(passing), class_count)
    else:  # a view of (classes, rows): search it as it lies in memory
        classes, rows = np.divmod(np.flatnonzero(passing.T), row_count)
        order = np.argsort(rows, kind="stable")
        rows, classes = rows[order], classes[order]
    picked = scores[rows, classes]
    if not multi_label and len(rows) > 1:
        rows, classes, picked = _first_of_rows(rows, classes, picked)
    if len(rows) > MAX_CANDIDATES:
        best = np.sort(np.argsort(-picked, kind="stable")[:MAX_CANDIDATES])
        rows, classes, picked = rows[best], classes[best], picked[best]
    return rows, classes, picked


def select_objects(
    confidence: Floats, threshold: float, *, raw: bool, multi_label: bool
) -> Selected:
    """As `select`, for a table whose first column is the objectness.

    The score of a class is its own times the objectness, so both must pass alone.

    Args:
        confidence: (rows, 1 + classes).
        threshold: of the product.
        raw: the table holds logits.
        multi_label: as in `select`.
    """
    objects = np.flatnonzero(confidence[:, 0] >= (logit(threshold) if raw else threshold))
    chosen = confidence[objects]
    chosen = sigmoid(chosen) if raw else chosen
    rows, classes, scores = select(
        chosen[:, :1] * chosen[:, 1:], threshold, multi_label=multi_label
    )
    return objects[rows], classes, scores


def _best_of_rows(scores: Floats, threshold: float) -> tuple[Indices, Indices]:
    """The rows that pass and the best class of each: cheaper when nearly everything passes."""
    best = scores.argmax(axis=1)
    rows = np.flatnonzero(scores[np.arange(len(scores)), best] >= threshold)
    return rows, best[rows]


def _first_of_rows(rows: Indices, classes: Indices, scores: Floats) -> Selected:
    """For rows in rising order: the best class of each, the lower class when equal."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    if len(starts) == len(rows):
        return rows, classes, scores
    order = np.lexsort((-scores, rows))
    best = order[starts]
    return rows[best], classes[best], scores[best]


def sigmoid(x: Floats) -> Floats:
    """The logistic function, element by element, without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def logit(probability: float) -> float:
    """The inverse of `sigmoid`: comparing logits with it spares the sigmoid of all the rest."""
    if probability <= 0.0:
        return -math.inf
    return math.log(probability / (1.0 - probability)) if probability < 1.0 else math.inf


def softmax(x: Floats) -> Floats:
    """Softmax over the last axis, without overflow."""
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return result
