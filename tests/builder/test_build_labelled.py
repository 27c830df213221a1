import json
from pathlib import Path

import pytest

from enginecrate.builder.accuracy.labelled import LabelledEvaluation, check_labelled_gate
from enginecrate.builder.accuracy.labelled_boxes import mean_average_precision, read_coco
from enginecrate.builder.accuracy.labelled_classes import read_class_folders
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import AccuracyTooLow, EvaluationInvalid
from enginecrate.pipelines.base import Detection, DetectionResult
from enginecrate.values import Tensors
from tiny_project import BLUE, GREEN, RED, make_project, photo, settings

LABELS = ["red", "green", "blue"]


@pytest.fixture
def opened(tmp_path: Path) -> Project:
    return open_project(make_project(tmp_path / "colors"), settings(tmp_path / "cache"))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    folder = tmp_path / "labelled"
    for name, color in {"red": RED, "green": GREEN, "2": BLUE}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_bytes(photo(color))
        (folder / name / "b.png").write_bytes(photo(color, (10, 10)))
    return folder


def engine_of(project: Project, blind: bool = False) -> FakeEngine:
    """Answers the colour of a photo; the blind one takes blue for green."""

    def compute(inputs: Tensors) -> Tensors:
        scores = inputs["image"].mean(axis=(2, 3)) * 10
        if blind:
            scores[:, 1] = scores[:, 1:].max(axis=1) + 1
            scores[:, 2] = -10
        return {"logits": scores}

    return FakeEngine(project.model.inputs, project.model.outputs, compute=compute)


def test_true_top1(opened: Project, labelled: Path):
    evaluation_set = LabelledEvaluation(
        labelled, engine_of(opened), opened.pipeline, opened.labels, 0.1
    )
    good = evaluation_set.measure(engine_of(opened))
    assert (good.metric, good.reference.value, good.candidate.value) == ("top-1", 1, 1)
    assert good.candidate.n == 6
    check_labelled_gate(good, "the int8 graph")
    bad = evaluation_set.measure(engine_of(opened, blind=True))
    assert bad.drop == pytest.approx(1 / 3, abs=1e-3)
    with pytest.raises(AccuracyTooLow, match=r"0\.3333 lower.*allows 0\.1000"):
        check_labelled_gate(bad, "the int8 graph")


def test_classes_are_labels_or_numbers(labelled: Path):
    truth = read_class_folders(labelled, LABELS)
    assert [one.class_id for one in truth] == [2, 2, 1, 1, 0, 0]
    (labelled / "red").rename(labelled / "0")
    with pytest.raises(EvaluationInvalid, match=r"1 classes.*'green'"):
        read_class_folders(labelled, [])


def test_a_photo_without_class_is_named(labelled: Path):
    (labelled / "loose.png").write_bytes(photo(RED))
    with pytest.raises(EvaluationInvalid, match=r"loose\.png.*is in no class"):
        read_class_folders(labelled, LABELS)


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path):
    with pytest.raises(EvaluationInvalid, match=r"one folder of photos for each class"):
        read_class_folders(tmp_path, LABELS)


def write_coco(folder: Path, categories: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        (folder / f"{number}.png").write_bytes(photo(RED, (100, 100)))
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)],
        "categories": [{"id": 10 + place, "name": name} for place, name in enumerate(categories)],
        "annotations": [
            {"image_id": 1, "category_id": 10, "bbox": [10, 10, 30, 40]},
            {"image_id": 2, "category_id": 11, "bbox": [50, 50, 20, 20]},
        ],
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(document))
    return path


def boxes(*found: Detection) -> DetectionResult:
    return DetectionResult(100, 100, list(found))


def test_true_map(tmp_path: Path):
    truth = read_coco(write_coco(tmp_path / "coco", ["red", "blue"]), LABELS)
    right = {
        1: boxes(Detection("red", 0, 0.9, (10, 10, 40, 50))),
        2: boxes(Detection("blue", 2, 0.8, (50, 50, 70, 70))),
    }
    figure = mean_average_precision(truth, right, "mAP")
    assert (figure.value, figure.n, figure.unit) == (1, 2, "photos")
    half = {1: right[1], 2: boxes()}
    found = mean_average_precision(truth, half, "mAP")
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 0.5 <= found.high
    assert mean_average_precision(truth, {1: None, 2: boxes()}, "mAP").value == 0


def test_a_loose_box_counts_for_some_thresholds(tmp_path: Path):
    """IoU 0.75 passes the thresholds 0.50 to 0.75: 6 of 10."""
    truth = read_coco(write_coco(tmp_path / "coco", ["red", "blue"]), LABELS)
    loose = {1: boxes(Detection("red", 0, 0.9, (10, 10, 40, 40))), 2: boxes()}
    assert mean_average_precision(truth, loose, "mAP").value == pytest.approx(0.3)


def test_unknown_categories_and_missing_images_are_named(tmp_path: Path):
    path = write_coco(tmp_path / "coco", ["red", "bleu"])
    with pytest.raises(EvaluationInvalid, match=r"1 categories.*'bleu'.*blue"):
        read_coco(path, LABELS)
    (tmp_path / "coco" / "2.png").unlink()
    with pytest.raises(EvaluationInvalid, match=r"1 are not beside it \(2\.png\)"):
        read_coco(path, LABELS)
    path.write_text("[]")
    with pytest.raises(EvaluationInvalid, match=r"is not a COCO file"):
        read_coco(path, LABELS)
