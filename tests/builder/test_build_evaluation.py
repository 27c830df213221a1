import math
import threading
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from enginecrate.builder.accuracy.comparison import compare_results
from enginecrate.builder.accuracy.evaluation import (
    EvaluationSample,
    Evaluator,
    check_gate,
    evaluation_samples,
)
from enginecrate.builder.golden.tolerance import Tolerance
from enginecrate.builder.project.photos import find_photos
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import AccuracyTooLow, EngineRunFailed, EvaluationInvalid
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    TensorResult,
    TensorsResult,
)
from enginecrate.values import Tensors
from tiny_project import make_project, settings, write_photos


def box(x: float, class_id: int = 0, score: float = 0.9, width: float = 10) -> Detection:
    return Detection(f"class {class_id}", class_id, score, (x, 0, x + width, 10))


def boxes(*found: Detection) -> DetectionResult:
    return DetectionResult(100, 100, list(found))


def classes(*ids: int) -> ClassificationResult:
    scores = [0.5 / (place + 1) for place in range(len(ids))]
    return ClassificationResult(
        10,
        10,
        [Classification(str(one), one, score) for one, score in zip(ids, scores, strict=True)],
    )


def test_boxes_match_by_class_and_overlap():
    expected = boxes(box(0), box(20), box(40, class_id=1))
    found = boxes(box(1), box(20, class_id=2), box(40, class_id=1, score=0.5), box(80))
    comparison = compare_results(expected, found, None, Tolerance())
    assert (comparison.hits, comparison.wanted, comparison.found) == (2, 3, 4)
    assert comparison.overlap == pytest.approx(9 / 11 + 1)
    assert comparison.score == pytest.approx(4 / 7)


def test_half_the_place_is_not_the_same_box():
    comparison = compare_results(boxes(box(0)), boxes(box(5)), None, Tolerance())
    assert comparison.hits == 0  # IoU 1/3


def test_two_boxes_do_not_share_one():
    comparison = compare_results(boxes(box(0), box(1)), boxes(box(0)), None, Tolerance())
    assert comparison.hits == 1


def test_a_photo_without_boxes_agrees_with_itself():
    assert compare_results(boxes(), boxes(), None, Tolerance()).score == 1
    assert compare_results(boxes(), boxes(box(0)), None, Tolerance()).score == 0


def test_top1_and_top5():
    second = compare_results(classes(3, 1, 2), classes(1, 3, 2), None, Tolerance())
    assert (second.hits, second.top5) == (0, True)
    lost = compare_results(classes(3, 1, 2), classes(1, 2, 4, 5, 6, 3), None, Tolerance())
    assert (lost.hits, lost.top5) == (0, False)
    assert lost.score < second.score < 1


def test_tensors_agree_within_the_tolerance_or_by_cosine():
    def result(values: list[float]) -> TensorsResult:
        return TensorsResult([TensorResult("y", "FP32", [len(values)], values)])

    def compare(one: list[float], other: list[float]) -> int:
        outputs = ({"y": np.array(one)}, {"y": np.array(other)})
        return compare_results(result(one), result(other), outputs, Tolerance()).hits

    assert compare([1.0, 2.0], [1.0005, 2.0]) == 1
    assert compare([1.0, 2.0], [1.05, 2.1]) == 1  # the same direction
    assert compare([1.0, 2.0], [2.0, 1.0]) == 0


@pytest.fixture
def opened(tmp_path: Path) -> Project:
    return open_project(make_project(tmp_path / "colors"), settings(tmp_path / "cache"))


@pytest.fixture
def samples(tmp_path: Path) -> list[EvaluationSample]:
    write_photos(tmp_path / "photos")
    return evaluation_samples([], find_photos(tmp_path / "photos", "classification").photos)


def engine_of(project: Project, turn: int = 0, broken: bool = False) -> FakeEngine:
    """Answers the colour of a photo; turned, the next one."""

    def compute(inputs: Tensors) -> Tensors:
        if broken:
            raise EngineRunFailed("out of memory")
        means = inputs["image"].mean(axis=(2, 3)) * 10
        return {"logits": np.roll(means, turn, axis=1).astype(np.float32)}

    return FakeEngine(project.model.inputs, project.model.outputs, compute=compute)


def test_the_same_engine_agrees_fully(opened: Project, samples: list[EvaluationSample]):
    evaluator = Evaluator(engine_of(opened), opened.pipeline, samples, 0.95)
    found = evaluator.evaluate(engine_of(opened), "measured")
    assert (found.agreement.value, found.agreement.n, found.photos) == (1, 3, 3)
    assert found.passed
    assert found.worst == ()
    assert [figure.name for figure in found.figures] == [
        "top-5 agreement",
        "relative L2 of logits",
        "cosine of logits",
        "largest difference of logits",
    ]
    check_gate(found, "the int8 graph")


def test_a_wrong_engine_fails_the_gate(opened: Project, samples: list[EvaluationSample]):
    evaluator = Evaluator(engine_of(opened), opened.pipeline, samples, 0.95)
    found = evaluator.evaluate(engine_of(opened, turn=1), "simulated")
    assert found.agreement.value == 0
    assert not found.passed
    assert {one.name for one in found.worst} == {"red.png", "green.png", "blue.png"}
    assert found.worst[0].reference["classes"][0]["label"] in ("red", "green", "blue")
    assert found.worst[0].found is not None
    with pytest.raises(
        AccuracyTooLow, match=r"the int8 graph .* 0\.000 .*simulated.* 0\.950"
    ) as raised:
        check_gate(found, "the int8 graph")
    assert raised.value.evaluation is found


def test_exactly_what_is_required_passes_the_gate(opened: Project, samples: list[EvaluationSample]):
    found = Evaluator(engine_of(opened), opened.pipeline, samples, 1.0).evaluate(
        engine_of(opened), "measured"
    )
    check_gate(found, "the int8 graph")
    most = replace(found, agreement=replace(found.agreement, value=0.95), required=0.95)
    check_gate(most, "the int8 graph")
    with pytest.raises(AccuracyTooLow):
        check_gate(replace(most, required=math.nextafter(0.95, 1)), "the int8 graph")


def test_a_failing_engine_disagrees(opened: Project, samples: list[EvaluationSample]):
    evaluator = Evaluator(engine_of(opened), opened.pipeline, samples, 0.95)
    found = evaluator.evaluate(engine_of(opened, broken=True), "measured")
    assert found.agreement.value == 0
    assert found.worst[0].found is None
    assert found.worst[0].failure == "out of memory"


def test_the_reference_runs_once(opened: Project, samples: list[EvaluationSample]):
    reference = engine_of(opened)
    evaluator = Evaluator(reference, opened.pipeline, samples, 0.95)
    for _ in range(3):
        evaluator.evaluate(engine_of(opened), "measured")
    assert len(reference.calls) == len(samples)


def test_photos_that_the_reference_cannot_answer_are_skipped(
    opened: Project, samples: list[EvaluationSample]
):
    bad = EvaluationSample("bad.png", "", lambda: b"no photo")
    evaluator = Evaluator(engine_of(opened), opened.pipeline, [*samples, bad], 0.95)
    found = evaluator.evaluate(engine_of(opened), "measured")
    assert found.photos == 3
    assert [name for name, _ in found.skipped] == ["bad.png"]
    with pytest.raises(EvaluationInvalid, match=r"none of the 1 photos.*bad\.png"):
        Evaluator(engine_of(opened), opened.pipeline, [bad], 0.95)


def test_nothing_to_examine_with_passes(opened: Project):
    found = Evaluator(engine_of(opened), opened.pipeline, [], 0.95).evaluate(
        engine_of(opened), "measured"
    )
    assert found.agreement.value is None
    assert found.passed


def test_an_engine_for_one_thread_gets_one(opened: Project, samples: list[EvaluationSample]):
    class Single(FakeEngine):
        thread_safe = False

    blocked = threading.Event()
    blocked.set()
    engine = Single(opened.model.inputs, opened.model.outputs, blocked=blocked, delay_seconds=0.01)
    evaluator = Evaluator(engine_of(opened), opened.pipeline, samples * 4, 0.95)
    evaluator.evaluate(engine, "measured")
    assert engine.peak == 1
