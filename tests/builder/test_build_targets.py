"""Several targets in one build: what is built, what is not, and what the report says of it."""

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from outlier_project import CALIBRATION, DROWNED, make_outlier_project
from test_build_run import page, read
from test_build_variants import colored

from enginecrate.builder.plans.build_all import build_jobs
from enginecrate.builder.project.overrides import select
from enginecrate.builder.project.project import open_project
from enginecrate.builder.report.report import BuildReport, TargetFacts
from enginecrate.builder.run import run_build
from enginecrate.errors import AccuracyTooLow, BuildError, NotWorthwhile
from enginecrate.settings import Settings, load_settings
from enginecrate.values import Precision
from tiny_project import make_project, settings

RTX = "trtrtx17-cuda130"


def build(root: Path, at: Settings, *, strict: bool = False, **chosen: list[str]) -> BuildReport:
    return run_build(root, at, select=partial(select, **chosen), strict=strict)


def found(report: BuildReport, stack: str, device: str) -> TargetFacts:
    (target,) = [one for one in report.result.targets if (one.stack, one.device) == (stack, device)]
    return target


def test_a_node_that_one_gpu_refuses_in_fp32_is_cast_for_it_alone(proven: Path, tmp_path: Path):
    at = settings(tmp_path / "cache")
    wanted = {"stacks": ["ort-cpu", RTX], "gpus": ["T4", "L4", "H100"]}
    report = build(proven, at, **wanted)
    assert report.verdict == "proven"
    result = report.result
    assert [(one.stack, one.device, one.status) for one in result.targets] == [
        ("ort-cpu", "cpu", "proven"),
        (RTX, "sm75", "simulated"),
        (RTX, "sm89", "simulated"),
        (RTX, "cpu", "proven"),
    ]
    turing, ada = found(report, RTX, "sm75"), found(report, RTX, "sm89")
    assert turing.plan is not None
    assert ada.plan is not None
    assert (turing.gpus, ada.gpus) == (("T4",), ("L4",))
    assert turing.asked is Precision.FP32
    # The classifier's only layer that multiplies is the one that is refused.
    assert turing.plan.precision is Precision.FP16
    assert turing.kept == ("score",)
    assert "sm75 refuses these nodes in FP32; they run in FP16: score" in turing.notes
    assert any("not every overflow" in note for note in turing.notes)
    assert (ada.plan.precision, ada.kept) == (Precision.FP32, ())
    assert not any("refuses" in note for note in ada.notes)
    assert [one.target for one in report.run.timings] == [0, 3]
    (foreign,) = result.not_buildable
    assert foreign.startswith(f"{RTX} for H100: H100 has compute capability 9.0")
    assert foreign in page(proven)
    assert report.run.cached == 0
    assert "memory as the builder reckons it" in page(proven)
    assert not re.search(r"\d bytes", page(proven))  # people read sizes in kB and MB

    again = build(proven, at, **wanted)
    assert again.run.cached == 4
    assert again.result == report.result


def test_photos_are_read_and_the_reference_runs_once_for_all_graphs_and_plans(tmp_path: Path):
    root = colored(tmp_path / "colors")
    finished: list[str] = []

    def told(step: str, done: int, total: int) -> None:
        if done == total:
            finished.append(step)

    chosen = partial(select, stacks=["ort-cpu", RTX], gpus=["L4"], precisions=["fp16", "int8"])
    report = run_build(root, settings(tmp_path / "cache"), told, select=chosen)
    evaluated = [one.asked for one in report.result.targets if one.evaluation is not None]
    assert {Precision.FP16, Precision.INT8} <= set(evaluated)
    for step in ("read the photos", "run the FP32 reference", "simplify the graph", "cast to fp16"):
        assert finished.count(step) == 1, step


def test_without_leave_to_mix_that_target_alone_is_not_built(
    tmp_path: Path, shared_cache: Settings
):
    root = make_project(tmp_path / "p", extra="\n[precision]\nallow_mixed = false\n")
    wanted = {"stacks": [RTX], "gpus": ["T4", "L4"]}
    report = build(root, shared_cache, **wanted)
    turing = found(report, RTX, "sm75")
    assert (turing.status, turing.plan) == ("not built", None)
    assert "score" in turing.reason
    assert "precision.allow_mixed = true" in turing.reason
    assert found(report, RTX, "sm89").status == "simulated"
    assert found(report, RTX, "cpu").status == "unproven"
    assert "2 of 3 plans are there" in page(root)
    with pytest.raises(BuildError, match=r"not everything.*(?s:.)*sm75.*allow_mixed = true"):
        build(root, shared_cache, strict=True, **wanted)


def test_a_backend_that_is_not_installed(project: Path, shared_cache: Settings):
    report = build(project, shared_cache, stacks=["trt1016-cuda130", "ort-cpu"], gpus=["L4"])
    absent = found(report, "trt1016-cuda130", "sm89")
    assert absent.status == "not built"
    assert "tensorrt" in absent.reason.lower()
    assert absent.reason in page(project).replace("&#39;", "'").replace("&#34;", '"')
    assert found(report, "ort-cpu", "cpu").status == "unproven"


@pytest.fixture
def drowned(tmp_path: Path, shared_cache: Settings) -> Path:
    return make_outlier_project(tmp_path / "drowned", shared_cache)


def test_how_accuracy_came_back_is_told(drowned: Path, shared_cache: Settings):
    report = build(drowned, shared_cache, stacks=[RTX], gpus=["L4"], precisions=["int8"])
    target = found(report, RTX, "sm89")
    assert target.plan is not None
    assert (target.status, target.plan.precision) == ("simulated", Precision.MIXED)
    recovery = target.recovery
    assert recovery is not None
    assert [one.node for one in recovery.kept][:1] == [DROWNED]
    assert DROWNED in target.kept
    assert recovery.steps[0].kept == 0
    first = recovery.steps[0].agreement.value
    assert first is not None
    assert first < 0.95
    assert recovery.share == target.share
    assert recovery.share > 0.9
    assert target.calibration_digest.startswith("sha256:")
    photos = report.result.photos
    assert photos is not None
    assert (photos.folder, photos.method) == ("calibration/", "minmax")
    assert photos.calibration + photos.examined == 9
    assert photos.copies == 100 - photos.calibration
    assert [name for name, _ in photos.skipped] == ["torn.png"]
    text = page(drowned)
    for words in ("Layers that stay in FP32", f"<code>{DROWNED}</code>", "<code>torn.png</code>",
                  "keep the most sensitive layers in float"):  # fmt: skip
        assert words in text


def no_mixing(root: Path) -> Path:
    manifest = root / "enginecrate.toml"
    extra = CALIBRATION + "allow_mixed = false\n"
    manifest.write_text(manifest.read_text().replace(CALIBRATION, extra))
    return root


def test_a_graph_that_fails_the_gate_is_shown_beside_what_was_built(
    drowned: Path, shared_cache: Settings
):
    root = no_mixing(drowned)
    with pytest.raises(AccuracyTooLow, match=r"int8 for sm89.*(?s:.)*See .*report\.html"):
        build(root, shared_cache, stacks=[RTX], gpus=["L4"], precisions=["int8", "fp32"])
    report = read(root)
    assert report.verdict == "failed"
    failed, good = (one for one in report.result.targets if one.device == "sm89")
    assert (failed.asked, failed.status, failed.plan) == (Precision.INT8, "failed", None)
    assert failed.evaluation is not None
    assert not failed.evaluation.passed
    assert failed.evaluation.worst
    assert (good.asked, good.status) == (Precision.FP32, "simulated")
    text = page(root)
    assert "below the gate of 95.0\N{NO-BREAK SPACE}%" in text
    pairs = text[text.index("Where they disagree most") :]
    assert pairs.count('<img src="data:image/jpeg;base64,') >= 2
    assert 'alt="golden/' in pairs


def test_when_every_target_fails_the_gate_the_report_is_still_written(
    drowned: Path, shared_cache: Settings
):
    root = no_mixing(drowned)
    with pytest.raises(AccuracyTooLow, match="ort-cpu, int8 for cpu"):
        build(root, shared_cache, stacks=["ort-cpu"], precisions=["int8"])
    report = read(root)
    assert (report.verdict, report.result.served, report.result.golden) == ("failed", None, ())
    assert report.run.timings == ()
    text = page(root)
    assert "Where they disagree most" in text
    assert "No plan was built" in text
    assert "golden record" not in text


def test_when_nothing_is_worthwhile_the_report_says_so(drowned: Path, shared_cache: Settings):
    with pytest.raises(NotWorthwhile, match=r"nothing was built(?s:.)*See .*report\.html"):
        build(drowned, shared_cache, stacks=["ort-cpu"], precisions=["int8"])
    report = read(drowned)
    assert report.verdict == "failed"
    assert [one.status for one in report.result.targets] == ["not built"]
    assert "INT8 is not worthwhile" in page(drowned)


def test_as_many_plans_are_built_at_once_as_cores_and_memory_allow(
    project: Path, shared_cache: Settings
):
    opened = open_project(project, shared_cache)
    asked = load_settings(environment={}, flags={"build_jobs": 7})
    assert build_jobs(opened, asked) == 7
    assert 1 <= build_jobs(opened, shared_cache) <= len(os.sched_getaffinity(0))
    larger_than_memory = replace(opened, model=replace(opened.model, source_bytes=2**50))
    assert build_jobs(larger_than_memory, shared_cache) == 1
    assert build_jobs(larger_than_memory, asked) == 7
