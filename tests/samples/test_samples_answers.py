"""The recorded answers of the samples are what the models' users have seen, too.

The expected values were seen by people, not computed by this project.
"""

import json
from pathlib import Path

import pytest

from enginecrate.build.predictor import open_predictor
from enginecrate.settings import load_settings

SAMPLES = Path(__file__).parents[2] / "samples"


def recorded(sample: str) -> dict[str, dict]:
    table = json.loads((SAMPLES / sample / "golden" / "golden.json").read_text(encoding="utf-8"))
    assert table["format"] == 1
    return {entry["input"]: entry["expected"] for entry in table["samples"]}


@pytest.mark.parametrize(
    ("photo", "label", "least", "area"),
    [
        # The box lies inside of this area, chosen by eye; x1, y1, x2, y2.
        ("astronaut.png", "person", 0.6, (0, 0, 512, 512)),
        ("camera.png", "person", 0.8, (60, 20, 420, 512)),
        ("coffee.png", "cup", 0.4, (100, 30, 600, 400)),
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
        ("rocket.jpg", {"missile", "projectile"}, 0.3),
        ("chelsea.png", {"tabby", "tabby cat", "Egyptian cat", "Egyptian Mau"}, 0.2),
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


def test_photos_to_try_give_something_sensible(tmp_path: Path):
    settings = load_settings(environment={"ENGINECRATE_CACHE_DIR": str(tmp_path)})
    predictor = open_predictor(SAMPLES / "classification", settings)
    try:
        photo = SAMPLES / "classification" / "photos" / "flower.jpg"
        result = predictor.predict(photo.read_bytes())
    finally:
        predictor.close()
    assert result.classes[0].score > 0.2
