"""Each decoder against boxes that an implementation which is not ours made of the same outputs.

`scripts/fixtures/` makes the files and says with what.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginecrate.pipelines.decoders.base import Candidates, Head
from enginecrate.pipelines.decoders.registry import DECODERS, create_decoder
from enginecrate.pipelines.nms import best_first, nms
from enginecrate.values import DataType, TensorSpec

FILES = sorted((Path(__file__).parents[1] / "fixtures" / "decoders").glob("*.npz"))


class Fixture:
    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        self.case: dict[str, Any] = json.loads(str(arrays.pop("case")))
        self.boxes, self.scores, self.classes = (
            arrays.pop(key) for key in ("boxes", "scores", "classes")
        )
        self.outputs = {key.removeprefix("output:"): value for key, value in arrays.items()}
        self.height, self.width = self.case["height"], self.case["width"]

    def head(self, *, labels: int | None = None) -> Head:
        specs = [
            TensorSpec(name, DataType.of(value.dtype), (-1, *value.shape[1:]))
            for name, value in self.outputs.items()
        ]
        return Head(
            specs, self.height, self.width, self.case["labels"] if labels is None else labels
        )

    def clip(self, boxes: np.ndarray) -> np.ndarray:
        return np.clip(boxes, 0, (self.width, self.height) * 2).astype(np.float32)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    return Fixture(request.param)


def in_order(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    order = np.lexsort((boxes[:, 0], classes, -scores))
    return boxes[order], scores[order], classes[order]


def survivors(found: Candidates, boxes: np.ndarray, *, needs_nms: bool, iou: float) -> np.ndarray:
    if not needs_nms:
        return best_first(found.scores)
    return nms(boxes, found.scores, found.classes, iou_threshold=iou, max_detections=10_000)


def test_boxes_scores_and_classes_equal_the_other_implementation(fixture: Fixture) -> None:
    case = fixture.case
    decoder = create_decoder(case["decoder"], case["options"], fixture.head())
    found = decoder.decode(fixture.outputs, case["score_threshold"])
    boxes = fixture.clip(found.boxes) if case.get("clipped_before_nms") else found.boxes
    kept = survivors(found, boxes, needs_nms=decoder.needs_nms, iou=case["iou_threshold"])
    boxes = fixture.clip(boxes[kept]) if case.get("clipped") else boxes[kept]
    boxes, scores, classes = in_order(boxes, found.scores[kept], found.classes[kept])
    want_boxes, want_scores, want_classes = in_order(fixture.boxes, fixture.scores, fixture.classes)

    assert len(scores) == len(want_scores) > 0
    np.testing.assert_array_equal(classes, want_classes)
    np.testing.assert_allclose(scores, want_scores, atol=2e-6)
    np.testing.assert_allclose(boxes, want_boxes, rtol=1e-5, atol=case.get("tolerance", 2e-3))
    assert boxes.dtype == scores.dtype == np.float32
    assert classes.dtype == np.intp


def test_suppression_and_threshold_matter_in_the_fixture(fixture: Fixture) -> None:
    """Without this, a decoder that drops or keeps everything could agree by accident."""
    case = fixture.case
    decoder = create_decoder(case["decoder"], case["options"], fixture.head())
    passing = decoder.decode(fixture.outputs, case["score_threshold"])
    everything = decoder.decode(fixture.outputs, 0.0)

    assert len(everything.scores) > len(passing.scores)
    if decoder.needs_nms:
        assert len(passing.scores) > len(fixture.scores)


def test_classes_are_known_where_the_outputs_tell(fixture: Fixture) -> None:
    decoder = create_decoder(fixture.case["decoder"], fixture.case["options"], fixture.head())

    assert decoder.classes in (None, fixture.case["labels"])


def test_half_precision_outputs_are_read(fixture: Fixture) -> None:
    case = fixture.case
    fixture.outputs = {
        name: value.astype(np.float16) if value.dtype.kind == "f" else value
        for name, value in fixture.outputs.items()
    }
    decoder = create_decoder(case["decoder"], case["options"], fixture.head())
    found = decoder.decode(fixture.outputs, case["score_threshold"])

    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert len(found.scores) >= 0.9 * len(fixture.scores)


def test_outputs_without_anything_give_no_candidates(fixture: Fixture) -> None:
    """NaN passes no threshold, and neither does a score below it."""
    decoder = create_decoder(fixture.case["decoder"], fixture.case["options"], fixture.head())
    broken = {
        name: np.full_like(value, np.nan) if value.dtype.kind == "f" else value
        for name, value in fixture.outputs.items()
    }
    found = decoder.decode(broken, 0.0)

    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.classes.shape == (0,)


def test_every_registered_decoder_has_a_fixture() -> None:
    assert {Fixture(path).case["decoder"] for path in FILES} == set(DECODERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_fixtures_stay_small_and_name_their_source(path: Path) -> None:
    assert path.stat().st_size < 300 * 1024
    assert Fixture(path).case["source"]
