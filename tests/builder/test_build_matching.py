import msgspec
import pytest

from enginecrate.builder.golden.tolerance import Tolerance, differences
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    Result,
    TensorResult,
    TensorsResult,
)

TOLERANCE = Tolerance(score=0.05, iou=0.9, threshold=0.4)
CAT = Detection("cat", 0, 0.8, (10, 10, 110, 110))
DOG = Detection("dog", 1, 0.6, (200, 10, 300, 210))


def boxes(*detections: Detection) -> DetectionResult:
    return DetectionResult(640, 480, list(detections))


def change(detection: Detection, **changes: object) -> Detection:
    return msgspec.structs.replace(detection, **changes)


def test_equal_results_match():
    assert differences(boxes(CAT, DOG), boxes(DOG, CAT), TOLERANCE) == []
    assert differences(boxes(), boxes(), TOLERANCE) == []


@pytest.mark.parametrize(
    "found",
    [
        change(CAT, score=0.76),
        change(CAT, box=(12, 10, 112, 110)),  # IoU 0.96
    ],
)
def test_small_changes_match(found: Detection):
    assert differences(boxes(CAT), boxes(found), TOLERANCE) == []


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "no box for the expected cat 0.80 at [10, 10, 110, 110]; nothing was found"),
        ([change(CAT, score=0.7)], "cat 0.70 at [10, 10, 110, 110] was expected with the score"),
        ([change(CAT, box=(30, 10, 130, 110))], "the nearest found is cat 0.80 at [30, 10, 130"),
        ([change(CAT, box=(300, 300, 400, 400))], "nothing was found there"),
        ([change(CAT, class_id=1, label="dog")], "found dog 0.80 at [10, 10, 110, 110], which"),
        ([change(CAT, label="Katze")], "found Katze 0.80"),
        ([CAT, DOG], "found dog 0.60 at [200, 10, 300, 210], which was not expected"),
        ([CAT, CAT], "found cat 0.80 at [10, 10, 110, 110], which was not expected"),
    ],
)
def test_other_boxes_do_not_match(found: list[Detection], reason: str):
    assert any(reason in line for line in differences(boxes(CAT), boxes(*found), TOLERANCE))


def test_a_box_near_the_threshold_may_appear_or_vanish():
    faint = change(DOG, score=0.44)
    assert differences(boxes(CAT), boxes(CAT, faint), TOLERANCE) == []
    assert differences(boxes(CAT, faint), boxes(CAT), TOLERANCE) == []
    clear = change(DOG, score=0.46)
    assert differences(boxes(CAT), boxes(CAT, clear), TOLERANCE)
    assert differences(boxes(CAT, clear), boxes(CAT), TOLERANCE)


def test_without_a_known_threshold_every_box_counts():
    tolerance = Tolerance(score=0.05, iou=0.9)
    faint = change(DOG, score=0.44)
    assert differences(boxes(CAT), boxes(CAT, faint), tolerance)
    assert differences(boxes(CAT, faint), boxes(CAT), tolerance)


def test_each_box_is_used_once_and_the_best_pairs_win():
    near = change(CAT, box=(11, 10, 111, 110))
    assert differences(boxes(CAT, near), boxes(near, CAT), TOLERANCE) == []
    lines = differences(boxes(CAT, near), boxes(CAT), TOLERANCE)
    assert len(lines) == 1
    assert "no box for the expected cat" in lines[0]


def test_boxes_without_area_match_only_themselves():
    point = change(CAT, box=(5, 5, 5, 5))
    assert differences(boxes(point), boxes(point), TOLERANCE) == []
    assert differences(boxes(point), boxes(change(CAT, box=(6, 6, 6, 6))), TOLERANCE)


def test_the_size_of_the_image_counts():
    found = DetectionResult(480, 640, [CAT])
    (line,) = differences(boxes(CAT), found, TOLERANCE)
    assert line == "expected an image of 640x480 pixels, found 480x640"


def classes(*pairs: tuple[str, float]) -> ClassificationResult:
    names = ["espresso", "cup", "mug", "plate"]
    return ClassificationResult(
        10, 10, [Classification(name, names.index(name), score) for name, score in pairs]
    )


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (classes(("cup", 0.9), ("mug", 0.1)), classes(("cup", 0.86), ("mug", 0.14))),
        # The two best are nearly the same: which comes first is chance.
        (classes(("cup", 0.46), ("mug", 0.44)), classes(("mug", 0.46), ("cup", 0.44))),
        # Classes that hardly count: which of them end the list is chance.
        (classes(("cup", 0.97), ("mug", 0.01)), classes(("cup", 0.97), ("plate", 0.01))),
        (classes(), classes()),
    ],
)
def test_classes_that_match(expected: Result, found: Result):
    assert differences(expected, found, TOLERANCE) == []


@pytest.mark.parametrize(
    ("expected", "found", "reason"),
    [
        (classes(("cup", 0.9)), classes(("cup", 0.8)), "cup has the score 0.800, expected 0.900"),
        (classes(("cup", 0.9)), classes(("mug", 0.9)), "found mug with the score 0.900"),
        (classes(("cup", 0.9)), classes(("mug", 0.9)), "the best class is mug, expected cup"),
        (classes(("cup", 0.9)), classes(), "cup is missing, expected with the score 0.900"),
        (classes(), classes(("cup", 0.9)), "found cup with the score 0.900"),
        (
            classes(("cup", 0.9), ("mug", 0.06)),
            classes(("cup", 0.9), ("plate", 0.06)),
            "mug is missing, expected with the score 0.060",
        ),
        (
            classes(("cup", 0.5), ("mug", 0.44)),
            classes(("mug", 0.48), ("cup", 0.46)),
            "the best class is mug, expected cup",
        ),
    ],
)
def test_classes_that_do_not_match(expected: Result, found: Result, reason: str):
    assert any(reason in line for line in differences(expected, found, TOLERANCE))


def tensor(*data: object, name: str = "y", kind: str = "FP32") -> TensorsResult:
    return TensorsResult([TensorResult(name, kind, [len(data)], list(data))])


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (tensor(1.0, -2000.0), tensor(1.0005, -2001.0)),
        (tensor(None, 1.0), tensor(float("nan"), 1.0)),  # JSON has no NaN
        (tensor(None), tensor(float("inf"))),
        (tensor("a", kind="BYTES"), tensor("a", kind="BYTES")),
        (tensor(True, kind="BOOL"), tensor(True, kind="BOOL")),
        (tensor(), tensor()),
    ],
)
def test_tensors_that_match(expected: Result, found: Result):
    assert differences(expected, found, Tolerance()) == []


@pytest.mark.parametrize(
    ("expected", "found", "reason"),
    [
        (tensor(1.0, 2.0, 3.0), tensor(1.0, 2.5, 3.1), "2 of 3 values differ, above all number 1"),
        (tensor(1.0), tensor(float("nan")), "expected 1.0, found nan"),
        (tensor(1.0), tensor(1.0, 2.0), "expected FP32 [1], found FP32 [2]"),
        (tensor(1.0), tensor(1.0, kind="FP16"), "expected FP32 [1], found FP16 [1]"),
        (tensor(1.0), tensor(1.0, name="z"), "output 'y' is missing"),
        (tensor(1.0), tensor(1.0, name="z"), "output 'z' was not expected"),
        (tensor("a", kind="BYTES"), tensor("b", kind="BYTES"), "expected a, found b"),
        (tensor(True, kind="BOOL"), tensor(False, kind="BOOL"), "1 of 1 values differ"),
    ],
)
def test_tensors_that_do_not_match(expected: Result, found: Result, reason: str):
    assert any(reason in line for line in differences(expected, found, Tolerance()))


def test_results_of_different_kinds_never_match():
    (line,) = differences(boxes(CAT), classes(("cup", 1.0)), TOLERANCE)
    assert line == "expected a DetectionResult, found a ClassificationResult"
