"""The recorded answers of the samples are what the models' users have seen, too.

The expected values were seen by people, not computed by this project.
"""

import json
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "samples"


def recorded(sample: str) -> dict[str, dict]:
    table = json.loads((SAMPLES / sample / "golden" / "golden.json").read_text(encoding="utf-8"))
    assert table["format"] == 1
    return {entry["input"]: entry["expected"] for entry in table["samples"]}


@pytest.mark.parametrize(
    ("photo", "label", "least", "area"),
    [
        # The box lies inside of this area, chosen by eye; x1, y1, x2, y2.
        ("astronaut.png", "person", 0.6, (0, 0, 400, 512)),
        ("camera.png", "person", 0.8, (0, 40, 340, 512)),
        ("coffee.png", "cup", 0.4, (100, 0, 490, 400)),
    ],
)
def test_the_detector(photo: str, label: str, least: float, area: tuple[int, ...]):
    best = recorded("detection")[photo]["detections"][0]
    assert best["label"] == label
    assert best["score"] >= least
    x1, y1, x2, y2 = best["box"]
    assert area[0] <= x1 < x2 <= area[2]
    assert area[1] <= y1 < y2 <= area[3]


@pytest.mark.parametrize(
    ("photo", "labels", "least"),
    [
        ("coffee.png", {"espresso"}, 0.9),
        ("rocket.jpg", {"missile"}, 0.2),
        ("chelsea.png", {"a cat having a striped coat", "tabby cat", "Egyptian Mau"}, 0.3),
    ],
)
def test_the_classifier(photo: str, labels: set[str], least: float):
    best = recorded("classification")[photo]["classes"][0]
    assert best["label"] in labels
    assert best["score"] >= least


def test_the_template_leaves_out_what_does_not_matter():
    answers = recorded("custom")
    assert [thing["label"] for thing in answers["astronaut.png"]["detections"]] == ["person"]
    assert answers["coffee.png"]["detections"] == []


@pytest.mark.parametrize("sample", ["detection", "classification"])
def test_every_golden_photo_has_its_answer(sample: str):
    photos = {file.name for file in (SAMPLES / sample / "golden").iterdir()} - {"golden.json"}
    assert set(recorded(sample)) == photos
