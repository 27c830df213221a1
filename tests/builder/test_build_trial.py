"""Builds try the app on photos of ours: faults end them, batches that spoil answers are limited."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.builder.project.project import open_project
from enginecrate.builder.run import run_build
from enginecrate.errors import PipelineModuleInvalid, TrialFailed
from tiny_models import color_classifier, constant, model, save, value
from tiny_project import make_project, photo, settings

RED, GREEN = (200, 30, 20), (20, 180, 40)


def first_only() -> onnx.ModelProto:
    """The tiny classifier of colours, whose logits are 0 for all but the first of a batch."""
    made = color_classifier()
    graph = made.graph
    graph.node[-1].output[0] = "all"
    node = helper.make_node
    graph.node.extend(
        [
            node("Shape", ["all"], ["sizes"]),
            node("Gather", ["sizes", "zero"], ["size"]),
            node("Range", ["zero", "size", "one"], ["places"]),
            node("Equal", ["places", "zero"], ["first"]),
            node("Cast", ["first"], ["mask"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["mask", "axis"], ["column"]),
            node("Mul", ["all", "column"], ["logits"]),
        ]
    )
    numbers = {"zero": np.array(0), "one": np.array(1), "axis": np.array([1])}
    graph.initializer.extend(constant(name, number) for name, number in numbers.items())
    return made


@pytest.fixture
def build(tmp_path: Path) -> Callable:
    made = settings(tmp_path / "cache")
    return lambda project: run_build(project, made)


def record(project: Path, tmp_path: Path) -> None:
    photos = []
    for name, color in (("red.png", RED), ("green.png", GREEN)):
        (tmp_path / name).write_bytes(photo(color))
        photos.append(tmp_path / name)
    made = settings(tmp_path / "cache")
    record_golden(open_predictor(project, made).predict, open_project(project, made).golden, photos)


def sidecar(tmp_path: Path) -> dict:
    (file,) = (tmp_path / "cache" / "plans").glob("*/plan.json")
    return json.loads(file.read_text())


def test_the_report_says_what_ran(tmp_path: Path, build: Callable):
    report = build(make_project(tmp_path / "app"))
    assert report.verdict == "unproven"
    assert report.result.trial.samples == ("astronaut.jpg", "chelsea.jpg")
    assert report.result.trial.findings == ()
    assert report.run.batches[0] == 2
    page = (tmp_path / "app" / "build" / "report.html").read_text()
    assert "astronaut.jpg and chelsea.jpg ran here, from their bytes to an answer" in page


@pytest.mark.parametrize("golden", [False, True], ids=["unproven", "proven"])
def test_a_plan_that_is_right_for_the_first_only_is_limited(
    tmp_path: Path, build: Callable, golden: bool
):
    project = make_project(tmp_path / "app")
    save(first_only(), project / "colors.onnx")
    if golden:
        record(project, tmp_path)
    report = build(project)
    assert report.verdict == ("proven" if golden else "unproven")
    (target,) = report.result.targets
    assert target.plan.max_batch == 1
    assert "served one by one" in target.notes[-1]
    assert [finding.name for finding in report.result.trial.findings] == ["one-by-one"]
    assert {row.batch for row in report.run.timings[0].timing.rows} == {1}
    assert (sidecar(tmp_path)["max_batch"], sidecar(tmp_path)["notes"]) == (1, [target.notes[-1]])
    again = build(project)  # the plan comes from the cache
    assert again.result == report.result


def test_an_app_whose_every_answer_is_an_error_fails(tmp_path: Path, build: Callable):
    project = make_project(tmp_path / "app")
    nan = color_classifier()
    nan.graph.initializer[1].CopyFrom(constant("bias", np.full(3, np.nan, np.float32)))
    save(nan, project / "colors.onnx")
    with pytest.raises(TrialFailed, match=r"astronaut\.jpg: .* not finite") as raised:
        build(project)
    assert "record golden samples of its own kind" in str(raised.value)
    assert not (tmp_path / "cache" / "plans").exists()  # told before anything is built


def test_tensors_that_always_fail_end_the_build(tmp_path: Path, build: Callable):
    project = make_project(tmp_path / "app")
    manifest = project / "enginecrate.toml"
    manifest.write_text(
        manifest.read_text().partition("[pipeline]")[0] + '[pipeline]\ntask="tensors"'
    )
    reshape = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    save(
        model(reshape, [value("x", ["n", 3])], [value("y", ["n", 2])],
              [constant("shape", np.array([-1, 2]))]),
        project / "colors.onnx",
    )  # fmt: skip
    with pytest.raises(TrialFailed, match="made-up tensors 1: "):
        build(project)


OWN = """
import numpy as np
from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.base import Classification, ClassificationResult
from enginecrate.pipelines.classification import ClassificationPipeline

class Own(ClassificationPipeline):
    def prepare(self, payload):
        prepared = super().prepare(payload)
        {prepare}
        return prepared
    def finish(self, outputs, context):
        scores = outputs["logits"][0]
        best = np.argmax(scores)
        return ClassificationResult(
            np.int64(context.width), context.height,
            [Classification(self._labels[best], best, {score})],
        )
"""


def own_project(root: Path, prepare: str = "pass", score: str = "np.float32(0.5)") -> Path:
    project = make_project(root, extra='module = "own:Own"\n')
    (project / "own.py").write_text(OWN.format(prepare=prepare, score=score))
    return project


def test_a_class_of_ones_own_is_tried_without_golden_samples(tmp_path: Path, build: Callable):
    report = build(own_project(tmp_path / "app"))
    assert (report.verdict, report.result.contract) == ("unproven", "passed")
    assert report.result.trial.samples == ("astronaut.jpg", "chelsea.jpg")


@pytest.mark.parametrize(
    ("own", "error", "words"),
    [
        (
            {"score": "np.float32('nan')"},
            PipelineModuleInvalid,
            "finish gave a class the score nan",
        ),
        ({"score": "np.float32(57)"}, TrialFailed, r"a score is 57, .* make finish\(\) return"),
        ({"prepare": "{}['x']"}, PipelineModuleInvalid, "prepare failed: KeyError: 'x'"),
        ({"prepare": "raise PipelineInvalid('not a slide')"}, TrialFailed, "jpg: not a slide"),
    ],
)
def test_faults_of_a_class_of_ones_own_end_the_build(
    tmp_path: Path, build: Callable, own: dict, error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        build(own_project(tmp_path / "app", **own))


def test_golden_samples_decide_about_photos_that_are_not_of_their_kind(
    tmp_path: Path, build: Callable
):
    refuse = "if prepared.context.width > 100: raise PipelineInvalid('not a slide')"
    project = own_project(tmp_path / "app", refuse)
    record(project, tmp_path)
    report = build(project)
    assert report.verdict == "proven"
    assert [finding.name for finding in report.result.trial.findings] == ["error", "error"]
    assert not report.result.trial.faults
