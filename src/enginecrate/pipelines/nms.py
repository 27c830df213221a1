"""Non-maximum suppression: of boxes that overlap, keep the one with the best score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_CANDIDATES", "best_first", "nms"]

MAX_CANDIDATES = 4096
"""Only so many of the best candidates are looked at, which bounds time and memory."""

_BLOCK = 128

Indices = npt.NDArray[np.intp]


def best_first(scores: npt.NDArray[np.float32]) -> Indices:
    """Indices of (N,) scores, best first; equal scores keep their order."""
    return np.argsort(-scores, kind="stable")


def nms(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.intp] | None,
    *,
    iou_threshold: float,
    max_detections: int,
) -> Indices:
    """Greedy non-maximum suppression.

    A box is dropped when its intersection over union with a better box that was kept is
    greater than `iou_threshold`. Candidates are looked at in blocks, best first, so that the
    work ends as soon as enough boxes are kept.

    Args:
        boxes: (N, 4), each x1, y1, x2, y2 in any unit.
        scores: (N,). Of equal scores the first wins.
        classes: (N,); boxes of different classes never suppress each other. `None`: they do.
        iou_threshold: 0..1.
        max_detections: return no more than this.

    Returns:
        Indices of the boxes that are kept, best first.
    """
    order = best_first(scores)[:MAX_CANDIDATES]
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if len(kept):
            block = block[~_overlap(boxes, classes, kept, block, iou_threshold).any(axis=0)]
        block = block[_survivors(_overlap(boxes, classes, block, block, iou_threshold))]
        kept = np.concatenate((kept, block))
        if len(kept) >= max_detections:
            break
    return kept[:max_detections]


def _survivors(overlap: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The boxes of n, best first, that a greedy pass keeps. `overlap` is (n, n) and symmetric.

    A box lives when no better living box overlaps it. Repeating that rule for all boxes at
    once settles at least one more box with each repetition, so its fixed point is the greedy
    answer; two or three repetitions are usual. (Cluster-NMS, arXiv 2005.03572, section 3.3.)
    """
    better = np.triu(overlap, 1)
    alive: npt.NDArray[np.bool_] = np.logical_not(better.any(axis=0))
    while True:
        again = np.logical_not(better[alive].any(axis=0))
        if np.array_equal(alive, again):
            return alive
        alive = again


def _overlap(
    boxes: npt.NDArray[np.float32],
    classes: npt.NDArray[np.intp] | None,
    left: Indices,
    right: Indices,
    threshold: float,
) -> npt.NDArray[np.bool_]:
    """(L, R): whether boxes[left] and boxes[right] suppress each other."""
    # Coordinate by coordinate: rows of contiguous numbers are several times faster than pairs.
    a, b = boxes[left].T[:, :, None], np.ascontiguousarray(boxes[right].T)[:, None, :]
    width = np.minimum(a[2], b[2])
    width -= np.maximum(a[0], b[0])
    np.maximum(width, 0, out=width)
    intersection = np.minimum(a[3], b[3])
    intersection -= np.maximum(a[1], b[1])
    np.maximum(intersection, 0, out=intersection)
    intersection *= width
    union = _area(a) + _area(b)
    union -= intersection
    # Not divided by the union, which is 0 for two boxes without area.
    suppress: npt.NDArray[np.bool_] = intersection > union * np.float32(threshold)
    if classes is not None:
        suppress &= classes[left, None] == classes[None, right]
    return suppress


def _area(sides: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    area: npt.NDArray[np.float32] = (sides[2] - sides[0]) * (sides[3] - sides[1])
    return area
