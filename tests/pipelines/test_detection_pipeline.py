"""From outputs to a result: threshold, suppression, geometry, labels, rounding."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.base import DetectionResult, Limits
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.pipelines.geometry import Geometry
from enginecrate.values import DataType, PipelineSpec, TensorSpec

INPUTS = [TensorSpec("images", DataType.FP32, (-1, 3, 320, 320))]
OUTPUTS = [TensorSpec("output0", DataType.FP32, (-1, 6, 2100))]
END2END = [TensorSpec("output0", DataType.FP32, (-1, 300, 6))]
LABELS = ["cat", "dog"]
SAME_SIZE = Geometry(320, 320, 1.0, 1.0, 0.0, 0.0)


def pipeline(
    outputs: list[TensorSpec] = OUTPUTS, labels: list[str] = LABELS, **keys: Any
) -> DetectionPipeline:
    spec = PipelineSpec(task="detection", **({"decoder": "yolo"} | keys))
    return DetectionPipeline(spec, INPUTS, outputs, labels, Limits())


def yolo(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Rows of cx, cy, w, h, cat, dog."""
    table = np.zeros((1, 6, 2100), np.float32)
    for index, row in enumerate(rows):
        table[0, :, index * 7] = row
    return {"output0": table}


def seen(result: DetectionResult) -> list[tuple[str, float]]:
    return [(found.label, found.score) for found in result.detections]


def test_best_score_first_rounded_and_labelled() -> None:
    result = pipeline().finish(
        yolo((50, 50, 20, 20, 0.5, 0.1), (200, 100.004, 40.5, 10, 0, 0.812345)), SAME_SIZE
    )
    assert result.width == result.height == 320
    assert msgspec.to_builtins(result.detections) == [
        {"label": "dog", "class_id": 1, "score": 0.8123, "box": (179.75, 95.0, 220.25, 105.0)},
        {"label": "cat", "class_id": 0, "score": 0.5, "box": (40.0, 40.0, 60.0, 60.0)},
    ]


def test_json_holds_plain_numbers() -> None:
    result = pipeline().finish(yolo((50, 50, 33.32, 20, 0.7, 0)), SAME_SIZE)
    assert msgspec.json.encode(result.detections) == (
        b'[{"label":"cat","class_id":0,"score":0.7,"box":[33.34,40.0,66.66,60.0]}]'
    )


def test_a_score_equal_to_the_threshold_counts() -> None:
    outputs = yolo((50, 50, 20, 20, 0.5, 0), (200, 200, 20, 20, 0.49, 0))
    assert seen(pipeline(score_threshold=0.5).finish(outputs, SAME_SIZE)) == [("cat", 0.5)]


def test_overlapping_boxes_are_suppressed_by_class_or_all() -> None:
    outputs = yolo((50, 50, 20, 20, 0.9, 0), (51, 50, 20, 20, 0.8, 0), (50, 51, 20, 20, 0, 0.7))
    assert seen(pipeline().finish(outputs, SAME_SIZE)) == [("cat", 0.9), ("dog", 0.7)]
    assert seen(pipeline(class_agnostic=True).finish(outputs, SAME_SIZE)) == [("cat", 0.9)]
    assert len(pipeline(iou_threshold=1.0).finish(outputs, SAME_SIZE).detections) == 3


def test_max_detections() -> None:
    outputs = yolo(*((20.0 * i, 50, 9, 9, 0.5 + i / 100, 0) for i in range(1, 9)))
    assert seen(pipeline(max_detections=2).finish(outputs, SAME_SIZE)) == [
        ("cat", 0.58),
        ("cat", 0.57),
    ]


def test_boxes_are_mapped_to_the_sent_image_and_cut_at_its_border() -> None:
    # 640 x 320 was letterboxed into 320 x 320: half the size, a border of 80 above and below.
    letterboxed = Geometry(640, 320, 0.5, 0.5, 0.0, 80.0)
    result = pipeline().finish(
        yolo((160, 160, 40, 20, 0.9, 0), (10, 90, 40, 40, 0.8, 0), (100, 40, 30, 30, 0.7, 0)),
        letterboxed,
    )
    assert (result.width, result.height) == (640, 320)
    # The third one lies in the border: nothing of it is left.
    assert [found.box for found in result.detections] == [(280, 140, 360, 180), (0, 0, 60, 60)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_no_numbers_are_left_out(bad: float) -> None:
    with np.errstate(invalid="ignore"):
        result = pipeline().finish(
            yolo((bad, 50, 20, 20, 0.9, 0), (50, 50, 20, 20, 0.8, 0)), SAME_SIZE
        )
    assert seen(result) == [("cat", 0.8)]


def test_nothing_found() -> None:
    assert pipeline().finish(yolo(), SAME_SIZE) == DetectionResult(320, 320, [])


def test_scores_a_little_over_one_are_one() -> None:
    result = pipeline().finish(yolo((50, 50, 20, 20, 1.004, 0)), SAME_SIZE)
    assert seen(result) == [("cat", 1.0)]


def test_logits_taken_for_scores_are_named_as_the_mistake() -> None:
    with pytest.raises(PipelineInvalid, match=r"score of 5\.3.*activation"):
        pipeline().finish(yolo((50, 50, 20, 20, 5.3, 0)), SAME_SIZE)


def test_end2end_is_not_suppressed_but_sorted_and_limited() -> None:
    table = np.zeros((1, 300, 6), np.float32)
    table[0, :3] = [[0, 0, 9, 9, 0.5, 0], [0, 0, 9, 9, 0.9, 0], [1, 1, 9, 9, 0.7, 1]]
    made = pipeline(END2END, max_detections=2)
    assert seen(made.finish({"output0": table}, SAME_SIZE)) == [("cat", 0.9), ("dog", 0.7)]


def test_a_class_beyond_the_labels_is_named() -> None:
    table = np.zeros((1, 300, 6), np.float32)
    table[0, 0] = [0, 0, 9, 9, 0.5, 2]
    with pytest.raises(LabelsInvalid, match=r"class 2 .*only 2 labels"):
        pipeline(END2END).finish({"output0": table}, SAME_SIZE)
    result = pipeline(END2END, labels=[]).finish({"output0": table}, SAME_SIZE)
    assert seen(result) == [("class 2", 0.5)]


def test_labels_that_do_not_fit_name_both_numbers() -> None:
    outputs = [
        TensorSpec("logits", DataType.FP32, (-1, 100, 92)),
        TensorSpec("pred_boxes", DataType.FP32, (-1, 100, 4)),
    ]
    with pytest.raises(LabelsInvalid, match="2 labels, but the model has 91 classes"):
        pipeline(outputs, decoder="detr")


def test_the_task_has_a_name() -> None:
    assert pipeline().task == "detection"
