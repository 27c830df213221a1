import json
from pathlib import Path

import numpy as np
import pytest

from enginecrate.builder.golden.samples import check_golden, load_golden, record_golden
from enginecrate.builder.golden.tolerance import Tolerance
from enginecrate.errors import GoldenInvalid, ImageUndecodable, SystemRefused
from enginecrate.pipelines.base import (
    Detection,
    DetectionResult,
    Result,
    TensorResult,
    TensorsResult,
)


def seen(payload: bytes) -> DetectionResult:
    """An app that sees one box, whose width is the payload's length."""
    return DetectionResult(100, 50, [Detection("thing", 3, 0.75, (0, 0, len(payload), 40))])


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / "one.png", folder / "two.png"]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * (20 + number))
    return paths


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_recorded_passes(tmp_path: Path, photos: list[Path]):
    golden = tmp_path / "golden"
    entries = record_golden(seen, golden, photos, score_threshold=0.4)
    assert [entry.input for entry in entries] == ["one.png", "two.png"]
    assert names(golden) == ["golden.json", "one.png", "two.png"]
    samples = load_golden(golden)
    assert samples[0].payload == photos[0].read_bytes()
    assert samples[0].expected == seen(photos[0].read_bytes())
    assert samples[0].tolerance == Tolerance(score=0.05, iou=0.9, threshold=0.4)
    report = check_golden(seen, samples)
    assert report.passed
    assert [(one.name, one.passed, one.reasons) for one in report.outcomes] == [
        ("one.png", True, ()),
        ("two.png", True, ()),
    ]


def test_the_file_is_as_documented(tmp_path: Path, photos: list[Path]):
    record_golden(seen, tmp_path / "golden", photos[:1], score_threshold=0.4)
    text = (tmp_path / "golden" / "golden.json").read_text()
    assert json.loads(text) == {
        "format": 1,
        "samples": [
            {
                "input": "one.png",
                "expected": {
                    "width": 100,
                    "height": 50,
                    "detections": [
                        {"label": "thing", "class_id": 3, "score": 0.75, "box": [0, 0, 20, 40]}
                    ],
                },
                "tolerance": {"score": 0.05, "iou": 0.9, "threshold": 0.4},
            }
        ],
    }
    assert '\n          {"label": "thing", "class_id": 3,' in text  # one line for each box


def test_recording_twice_changes_nothing(tmp_path: Path, photos: list[Path]):
    golden = tmp_path / "golden"
    record_golden(seen, golden, photos)
    before = {path.name: path.read_bytes() for path in golden.iterdir()}
    record_golden(seen, golden, photos)
    record_golden(seen, golden, [golden / "one.png"])
    assert {path.name: path.read_bytes() for path in golden.iterdir()} == before


def test_recording_again_renews_the_answer_and_keeps_edited_tolerances(
    tmp_path: Path, photos: list[Path]
):
    golden = tmp_path / "golden"
    record_golden(seen, golden, photos)
    path = golden / "golden.json"
    path.write_text(path.read_text().replace('"score": 0.05', '"score": 0.2', 1))

    def other(payload: bytes) -> Result:
        return DetectionResult(100, 50, [])

    record_golden(other, golden, photos[:1])
    first, second = load_golden(golden)
    assert first.expected == other(b"")
    assert first.tolerance.score == 0.2
    assert second.expected == seen(photos[1].read_bytes())


def test_another_photo_of_the_same_name_replaces_none(tmp_path: Path, photos: list[Path]):
    golden = tmp_path / "golden"
    record_golden(seen, golden, photos)
    photos[0].write_bytes(b"a new picture")
    for _ in range(2):
        entries = record_golden(seen, golden, photos[:1])
    assert [entry.input for entry in entries[:2]] == ["one.png", "two.png"]
    (added,) = [entry.input for entry in entries[2:]]
    assert added.startswith("one-")
    assert (golden / "one.png").read_bytes() == b"x" * 20
    assert (golden / added).read_bytes() == b"a new picture"
    assert check_golden(seen, load_golden(golden)).passed


def test_nothing_is_written_unless_every_photo_has_an_answer(tmp_path: Path, photos: list[Path]):
    def picky(payload: bytes) -> Result:
        if len(payload) == 21:
            raise ImageUndecodable("the image is damaged")
        return seen(payload)

    with pytest.raises(GoldenInvalid, match=r"two.png: the image is damaged"):
        record_golden(picky, tmp_path / "golden", photos)
    with pytest.raises(GoldenInvalid, match=r"cannot read .*three.png"):
        record_golden(seen, tmp_path / "golden", [*photos, tmp_path / "three.png"])
    assert not (tmp_path / "golden").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, photos: list[Path]):
    (tmp_path / "golden").touch()
    with pytest.raises(SystemRefused, match="cannot write the golden samples"):
        record_golden(seen, tmp_path / "golden", photos)


def test_raw_tensors_survive_the_file(tmp_path: Path):
    data = [1.5, float("nan"), float("inf"), -0.25]

    def raw(payload: bytes) -> Result:
        return TensorsResult([TensorResult("y", "FP32", [2, 2], data)])

    sample = tmp_path / "a.npz"
    np.savez(sample, x=np.zeros(2))
    record_golden(raw, tmp_path / "golden", [sample])
    (loaded,) = load_golden(tmp_path / "golden")
    assert loaded.expected == TensorsResult(
        [TensorResult("y", "FP32", [2, 2], [1.5, None, None, -0.25])]
    )
    assert check_golden(raw, [loaded]).passed


def test_a_wrong_expectation_fails_with_the_reason(tmp_path: Path, photos: list[Path]):
    golden = tmp_path / "golden"
    record_golden(seen, golden, photos)
    path = golden / "golden.json"
    path.write_text(path.read_text().replace('"class_id": 3', '"class_id": 4', 1))
    report = check_golden(seen, load_golden(golden))
    assert not report.passed
    assert [one.passed for one in report.outcomes] == [False, True]
    assert "no box for the expected thing 0.75" in report.outcomes[0].reasons[0]


def test_whatever_the_app_raises_is_an_outcome(tmp_path: Path, photos: list[Path]):
    record_golden(seen, tmp_path / "golden", photos)

    def broken(payload: bytes) -> Result:
        if len(payload) == 20:
            raise ImageUndecodable("the image is damaged")
        raise ZeroDivisionError("in the vendor's code")

    report = check_golden(broken, load_golden(tmp_path / "golden"))
    assert [one.reasons for one in report.outcomes] == [
        ("the image is damaged",),
        ("ZeroDivisionError: in the vendor's code",),
    ]


def test_no_samples_are_no_proof(tmp_path: Path):
    assert load_golden(tmp_path) == []
    assert load_golden(tmp_path / "missing") == []
    assert not check_golden(seen, []).passed


SAMPLE = {"input": "one.png", "expected": {"width": 1, "height": 1, "detections": []}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a file of golden samples"),
        ("[]", "not a file of golden samples"),
        ('{"format": 2, "samples": []}', "has format 2, and this version reads 1"),
        ({"samples": [SAMPLE | {"inputs": 1}]}, "unknown field `inputs`"),
        ({"samples": [SAMPLE | {"tolerance": {"iuo": 1}}]}, "unknown field `iuo`"),
        ({"samples": [SAMPLE | {"input": "../one.png"}]}, "must be the plain name of a file"),
        ({"samples": [SAMPLE | {"input": "no.png"}]}, r"sample 0: cannot read .*no.png"),
        ({"samples": [SAMPLE | {"expected": {}}]}, "one of detections, classes, outputs"),
        ({"samples": [SAMPLE, SAMPLE | {"expected": {"classes": 5}}]}, "sample 1: expected is not"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: object, message: str):
    (tmp_path / "one.png").write_bytes(b"x")
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "golden.json").write_text(text)
    with pytest.raises(GoldenInvalid, match=message) as caught:
        load_golden(tmp_path)
    assert str(tmp_path / "golden.json") in str(caught.value)
