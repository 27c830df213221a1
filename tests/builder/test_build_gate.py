"""The gate of quantised precisions: few photos say little, and golden samples are a gate, too."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
from outlier_project import DROWNED, make_outlier_project

from enginecrate.builder.accuracy.figures import ratio_figure, share_figure
from enginecrate.builder.accuracy.gate import LEAST_PHOTOS, judge, photos_needed
from enginecrate.builder.ladder.site_calibration import calibrate_on_site
from enginecrate.builder.project.overrides import select
from enginecrate.builder.project.project import open_project
from enginecrate.builder.report.report import BuildReport, TargetFacts
from enginecrate.builder.run import run_build
from enginecrate.errors import AccuracyTooLow, GoldenMismatch, TooFewPhotos
from enginecrate.manifest.schema import Calibration
from enginecrate.settings import Settings
from enginecrate.values import Precision
from tiny_project import make_project, settings, write_photos

MANY = '\n[precision]\nmode = "int8"\ncalibration = { images = "calibration/" }\n'
INT8_FOR_A_GPU = partial(select, stacks=["trtrtx17-cuda130"], gpus=["L4"], precisions=["int8"])
"""Its graph is simulated: INT8 of a model so small is hardly faster on the CPU."""


def on_gpu(report: BuildReport) -> TargetFacts:
    return next(one for one in report.result.targets if one.device == "sm89")


@pytest.mark.parametrize("required", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_the_number_that_the_gate_names_is_the_least_one(required: float):
    least = photos_needed(None, 1, required, "wilson")
    assert least is not None
    assert judge(share_figure("top-1 agreement", least, least), least, required) == "passed"
    fewer = least - 1
    assert judge(share_figure("top-1 agreement", fewer, fewer), fewer, required) == "too few"


def test_the_lower_end_of_the_interval_decides():
    figure = share_figure("top-1 agreement", 97, 100)
    assert judge(figure, 100, 0.95) == "too few"
    assert judge(figure, 100, 0.9) == "passed"
    assert judge(figure, 100, 0.98) == "too few"  # not even 100 of 100 would show 98 %
    assert judge(share_figure("top-1 agreement", 900, 1000), 1000, 0.95) == "failed"
    needed = photos_needed(figure, 100, 0.95, "wilson")
    assert needed is not None
    many = share_figure("top-1 agreement", math.ceil(0.97 * needed), needed)
    assert judge(many, needed, 0.95) == "passed"


def test_one_photo_is_never_a_hundred_percent():
    for figure in (
        share_figure("top-1 agreement", 1, 1),
        ratio_figure("matched boxes", [7], [7], "boxes"),
        ratio_figure("matched boxes", [], [], "boxes"),
    ):
        assert judge(figure, 1, 0.5) == "too few"
        assert "%" not in figure.short
    assert share_figure("top-1 agreement", 1, 1).short == "1 of 1 photos"


def test_boxes_are_counted_by_photos():
    """Boxes that all match have an interval without width, on however few photos."""
    few = ratio_figure("matched boxes", [1] * 7, [1] * 7, "boxes")
    assert few.low == 1.0
    assert "there is no interval" in str(few)
    assert judge(few, 7, 0.95) == "too few"
    many = ratio_figure("matched boxes", [1] * 20, [1] * 20, "boxes")
    assert judge(many, LEAST_PHOTOS, 0.95) == "passed"
    lost = ratio_figure("matched boxes", [2] * 19 + [0], [2] * 20, "boxes")
    assert judge(lost, 20, 0.95) == "too few"
    needed = photos_needed(lost, 20, 0.9, "bootstrap")
    assert needed is not None
    assert needed > 20


def test_full_agreement_is_shown_by_no_number_of_photos():
    assert photos_needed(None, 10_000, 1.0, "wilson") is None
    figure = share_figure("top-1 agreement", 10_000, 10_000)
    assert judge(figure, 10_000, 1.0) == "too few"


@pytest.fixture
def at(tmp_path: Path) -> Settings:
    return settings(tmp_path / "cache")


def project_with_photos(root: Path, extra: str) -> Path:
    make_project(root, extra=extra)
    write_photos(root / "calibration")
    return root


def test_int8_of_few_photos_is_not_shipped_and_the_others_are(tmp_path: Path, at: Settings):
    root = project_with_photos(tmp_path / "p", MANY)
    chosen = partial(select, precisions=["fp32", "fp16", "int8"])
    report = run_build(root, at, select=chosen)
    found = {target.asked: target for target in report.result.targets}
    assert found[Precision.FP32].plan is not None
    assert found[Precision.INT8].plan is None
    reason = found[Precision.INT8].reason
    assert "too few photos to say" in reason
    assert "at least 73 photos" in reason
    assert "accept_few = true" in reason
    assert found[Precision.INT8].evaluation is not None  # what was measured is shown all the same
    with pytest.raises(TooFewPhotos, match="nothing was built"):
        run_build(root, at, select=partial(select, precisions=["int8"]))


def test_few_photos_are_accepted_where_the_manifest_says_so(tmp_path: Path, at: Settings):
    root = make_outlier_project(tmp_path / "p", at)
    report = run_build(root, at, select=INT8_FOR_A_GPU)
    target = on_gpu(report)
    assert target.plan is not None


def test_few_photos_on_site(tmp_path: Path, at: Settings):
    root = project_with_photos(tmp_path / "p", "")
    write_photos(tmp_path / "on-site")
    options = Calibration(images=str(tmp_path / "on-site"))
    with pytest.raises(TooFewPhotos, match="calibrate --accept-few"):
        calibrate_on_site(open_project(root, at), options, at)
    assert not list(at.cache_path.glob("site/*.json"))


def lenient(root: Path, more: str) -> None:
    """A gate that lets everything pass, so that golden samples alone refuse."""
    text = (root / "enginecrate.toml").read_text()
    changed = text.replace(
        "accept_few = true\n", f"accept_few = true\naccuracy = {{ min_agreement = 0 }}\n{more}"
    )
    assert changed != text
    (root / "enginecrate.toml").write_text(changed)


def test_a_golden_sample_that_refuses_goes_through_recovery(tmp_path: Path, at: Settings):
    root = make_outlier_project(tmp_path / "p", at)
    lenient(root, "")
    report = run_build(root, at, select=INT8_FOR_A_GPU)
    target = on_gpu(report)
    assert (report.verdict, target.status) == ("proven", "simulated")
    assert target.recovery is not None
    assert target.recovery.steps[0].missed
    assert not target.recovery.steps[-1].missed
    assert DROWNED in target.kept


def test_the_tolerance_that_was_missed_is_named(tmp_path: Path, at: Settings):
    root = make_outlier_project(tmp_path / "p", at)
    lenient(root, "allow_mixed = false\n")
    with pytest.raises(AccuracyTooLow, match=r"golden/.*\(tolerance: score 0\.05\)"):
        run_build(root, at, select=INT8_FOR_A_GPU)


def test_a_golden_sample_that_is_wrong_of_fp32_starts_no_recovery(tmp_path: Path, at: Settings):
    root = make_outlier_project(tmp_path / "p", at)
    path = root / "golden" / "golden.json"
    content = json.loads(path.read_text())
    for sample in content["samples"]:
        sample["expected"]["classes"][0]["score"] -= 0.3
    path.write_text(json.dumps(content))
    lenient(root, "")
    with pytest.raises(GoldenMismatch, match="golden samples gave another result"):
        run_build(root, at, select=INT8_FOR_A_GPU)
    report = json.loads((root / "build" / "report.json").read_text())
    (target,) = [one for one in report["result"]["targets"] if one["recovery"]]
    assert not any(step["missed"] for step in target["recovery"]["steps"])
