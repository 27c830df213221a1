"""Suppression against OpenCV's, on many random sets of boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from enginecrate.pipelines import nms as suppression
from enginecrate.pipelines.nms import MAX_CANDIDATES, best_first, nms


def random_boxes(
    rng: np.random.Generator, count: int, classes: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corner = rng.uniform(0, 300, (count, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(5, 150, (count, 2))), axis=1)
    scores = rng.permutation(count) / max(count, 1) * 0.9 + 0.1  # no two are equal
    ids = rng.integers(0, classes, count)
    return boxes.astype(np.float32), scores.astype(np.float32), ids.astype(np.intp)


def opencv(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None, iou: float
) -> list[int]:
    sizes = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1).tolist()
    if classes is None:
        kept = cv2.dnn.NMSBoxes(sizes, scores.tolist(), 0.0, iou)
    else:
        kept = cv2.dnn.NMSBoxesBatched(sizes, scores.tolist(), classes.tolist(), 0.0, iou)
    return sorted(np.asarray(kept, dtype=int).reshape(-1).tolist(), key=lambda i: -scores[i])


@pytest.mark.parametrize("count", [1, 2, 7, 40, 255, 256, 257, 700])
@pytest.mark.parametrize("by_class", [True, False])
def test_keeps_what_opencv_keeps(count: int, by_class: bool) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        iou = float(rng.uniform(0.05, 0.95))
        boxes, scores, ids = random_boxes(rng, count)
        classes = ids if by_class else None
        kept = nms(boxes, scores, classes, iou_threshold=iou, max_detections=count)

        assert kept.tolist() == opencv(boxes, scores, classes, iou)


def test_a_chain_of_overlaps_is_resolved_in_order() -> None:
    """Each box overlaps only its neighbours: every second one stays."""
    left = np.arange(600, dtype=np.float32) * 4
    boxes = np.stack((left, np.zeros(600), left + 10, np.full(600, 10)), axis=1).astype(np.float32)
    scores = np.linspace(1, 0.1, 600, dtype=np.float32)
    kept = nms(boxes, scores, None, iou_threshold=0.3, max_detections=1000)

    assert kept.tolist() == list(range(0, 600, 2))


def test_no_boxes() -> None:
    empty = nms(
        np.empty((0, 4), np.float32),
        np.empty(0, np.float32),
        np.empty(0, np.intp),
        iou_threshold=0.5,
        max_detections=10,
    )
    assert empty.shape == (0,)


def test_of_equal_scores_the_first_wins_and_order_is_kept() -> None:
    boxes = np.array([[0, 0, 9, 9], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32)
    scores = np.full(3, 0.5, np.float32)
    kept = nms(boxes, scores, None, iou_threshold=0.5, max_detections=10)

    assert kept.tolist() == [0, 1]
    assert best_first(scores).tolist() == [0, 1, 2]


def test_max_detections_are_the_best() -> None:
    boxes, scores, ids = random_boxes(np.random.default_rng(0), 900)
    everything = nms(boxes, scores, ids, iou_threshold=0.7, max_detections=900)
    few = nms(boxes, scores, ids, iou_threshold=0.7, max_detections=11)

    assert few.tolist() == everything[:11].tolist()


def test_overlap_equal_to_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)

    assert len(nms(boxes, scores, None, iou_threshold=0.5, max_detections=9)) == 2
    assert len(nms(boxes, scores, None, iou_threshold=0.499, max_detections=9)) == 1


def test_boxes_without_area_do_no_harm() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)

    assert nms(boxes, scores, None, iou_threshold=0.5, max_detections=9).tolist() == [0, 1, 2]


def test_work_is_bounded_for_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, ids = random_boxes(np.random.default_rng(1), 25_200, classes=80)
    overlap = suppression._overlap
    pairs = []

    def counted(boxes, classes, left, right, threshold):
        pairs.append(len(left) * len(right))
        return overlap(boxes, classes, left, right, threshold)

    monkeypatch.setattr(suppression, "_overlap", counted)
    kept = nms(boxes, scores, ids, iou_threshold=0.5, max_detections=25_200)
    assert len(kept) <= MAX_CANDIDATES
    assert scores[kept].min() >= np.sort(scores)[-MAX_CANDIDATES]
    assert 0 < sum(pairs) < MAX_CANDIDATES**2

    pairs.clear()
    few = nms(boxes, scores, ids, iou_threshold=0.5, max_detections=10)
    assert few.tolist() == kept[:10].tolist()
    assert 0 < sum(pairs) < MAX_CANDIDATES**2 / 100  # the first block has enough
