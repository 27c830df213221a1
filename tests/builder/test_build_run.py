import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.builder.report.report import BuildReport
from enginecrate.builder.run import run_build
from enginecrate.errors import AccuracyTooLow, GoldenMismatch, PipelineModuleInvalid, SystemRefused
from enginecrate.graph.rewrite.simplify import rewritten
from enginecrate.settings import Settings
from enginecrate.values import Precision
from tiny_models import save, wordy_linear
from tiny_project import make_project, settings


def read(project: Path) -> BuildReport:
    """The JSON file, checked against the schema of its type."""
    content = (project / "build" / "report.json").read_bytes()
    jsonschema.validate(json.loads(content), msgspec.json.schema(BuildReport))
    return msgspec.json.decode(content, type=BuildReport)


def page(project: Path) -> str:
    return (project / "build" / "report.html").read_text(encoding="utf-8")


def test_a_proven_build(proven: Path, shared_cache: Settings):
    report = run_build(proven, shared_cache)
    assert report == read(proven)
    assert (report.verdict, report.reasons) == ("proven", ())
    result = report.result
    assert (result.app.name, result.app.task) == ("colors", "classification")
    assert result.model.nodes == result.graph.nodes_before == 4
    assert result.graph.changed
    assert result.graph.nodes_after < 4
    (target,) = result.targets
    assert (target.asked, target.status, target.reason) == (Precision.FP32, "proven", "")
    assert result.served == 0
    plan = target.plan
    assert plan is not None
    assert (plan.stack, plan.backend, plan.max_batch) == ("ort-cpu", "onnxruntime", 32)
    assert (shared_cache.cache_path / "plans" / plan.key / "plan.onnx").is_file()
    assert [one.name for one in result.golden] == ["red.png", "green.png", "blue.png"]
    assert result.accuracy.agreement == 1
    assert all(one.outputs[0].cosine == pytest.approx(1) for one in result.accuracy.samples)
    (timed,) = report.run.timings
    assert {row.step for row in timed.timing.rows} == {"prepare", "engine", "finish", "predict"}
    assert target.evaluation is not None
    assert target.evaluation.proof == "measured"
    assert (target.evaluation.agreement.value, target.evaluation.agreement.n) == (1, 3)
    assert report.run.machine.cores >= 1


def test_a_second_build_says_that_it_used_the_cache_and_gives_the_same_result(
    proven: Path, tmp_path: Path, shared_cache: Settings
):
    fresh = run_build(proven, settings(tmp_path / "fresh"))
    assert fresh.run.cached == 0
    assert "0 of them came from the cache, 1 were built in this run" in page(proven)
    again = run_build(proven, settings(tmp_path / "fresh"))
    assert again.run.cached == 1
    assert "1 of them came from the cache, 0 were built in this run" in page(proven)
    assert again.result == fresh.result


def test_without_golden_samples_the_app_is_unproven_and_says_so(
    project: Path, shared_cache: Settings
):
    report = run_build(project, shared_cache)
    assert report.verdict == "unproven"
    assert "enginecrate golden record" in report.reasons[0]
    assert report.result.golden == ()
    assert report.result.accuracy.agreement is None
    assert report.result.accuracy.samples[0].sample == "made-up tensors"
    assert report.result.targets[0].status == "unproven"
    assert report.result.targets[0].evaluation is None
    (timed,) = report.run.timings
    assert {row.step for row in timed.timing.rows} == {"engine"}
    assert 'class="verdict unproven"' in page(project)


def test_a_wrong_expectation_fails_after_the_report_is_written(
    proven: Path, shared_cache: Settings
):
    golden = proven / "golden" / "golden.json"
    golden.write_text(golden.read_text().replace('"label": "red"', '"label": "pink"', 1))
    with pytest.raises(GoldenMismatch, match=r"1 of 3 golden samples.*(?s:.)*pink is missing"):
        run_build(proven, shared_cache)
    report = read(proven)
    assert report.verdict == "failed"
    assert [one.passed for one in report.result.golden] == [False, True, True]
    assert 'class="verdict failed"' in page(proven)
    assert "pink is missing" in page(proven)


def test_other_weights_fail_on_the_golden_samples(proven: Path, shared_cache: Settings):
    proven_plan = run_build(proven, shared_cache).result.targets[0].plan
    make_project(proven, turn=1)
    with pytest.raises(GoldenMismatch):
        run_build(proven, shared_cache)
    broken = read(proven).result.targets[0]
    assert broken.status == "failed"
    assert broken.plan is not None
    assert proven_plan is not None
    assert broken.plan.plan_digest != proven_plan.plan_digest


def test_a_golden_sample_that_the_pipeline_refuses(proven: Path, shared_cache: Settings):
    (proven / "golden" / "red.png").write_bytes(b"no picture")
    with pytest.raises(GoldenMismatch, match=r"red.png: "):
        run_build(proven, shared_cache)
    report = read(proven)
    assert report.verdict == "failed"
    assert [one.passed for one in report.result.golden] == [False, True, True]
    (evaluation,) = [one.evaluation for one in report.result.targets]
    assert evaluation is not None
    assert [name for name, _ in evaluation.skipped] == ["golden/red.png"]
    assert "Not examined: <code>golden/red.png</code>" in page(proven)


def test_a_simplifier_that_changes_the_function_is_caught(
    proven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def turn(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            if tensor.name == "weight":
                turned = np.roll(numpy_helper.to_array(tensor), 1, axis=1)
                tensor.CopyFrom(numpy_helper.from_array(turned, "weight"))

    monkeypatch.setattr("enginecrate.graph.rewrite.simplify.remove_passing", turn)
    # Another process would not have the change.
    here = lambda function, data, budget, what: rewritten(data)  # noqa: E731
    monkeypatch.setattr("enginecrate.graph.rewrite.simplify.run_isolated", here)
    at = settings(tmp_path / "cache")
    predictor = open_predictor(proven, at)
    photos = sorted((proven / "golden").glob("*.png"))
    # Even when somebody takes its answers for the right ones.
    record_golden(predictor.predict, proven / "golden", photos)
    with pytest.raises(AccuracyTooLow, match=r"only 0.0% of the plan's results match"):
        run_build(proven, at)
    report = read(proven)
    assert report.verdict == "failed"
    assert all(one.passed for one in report.result.golden)
    assert report.result.accuracy.agreement == 0
    assert report.result.accuracy.samples[0].outputs[0].relative_l2 > 0.1


OWN = """\
from enginecrate.pipelines.classification import ClassificationPipeline
import itertools
counter = itertools.count()
class Own(ClassificationPipeline):
    def finish(self, outputs, context):
        result = super().finish(outputs, context)
        BODY
        return result
"""


def own_pipeline(root: Path, body: str) -> None:
    (root / "own.py").write_text(OWN.replace("BODY", body))
    manifest = root / "enginecrate.toml"
    manifest.write_text(manifest.read_text().replace("top_k = 3", 'top_k = 3\nmodule = "own:Own"'))


def test_the_vendors_own_pipeline_is_tested(proven: Path, shared_cache: Settings):
    own_pipeline(proven, "pass")
    report = run_build(proven, shared_cache)
    assert (report.verdict, report.result.contract) == ("proven", "passed")


def test_a_pipeline_that_breaks_its_contract_fails_after_the_report_is_written(
    proven: Path, shared_cache: Settings
):
    # Another size each time: the golden samples have their tolerance, the contract has none.
    own_pipeline(
        proven,
        "result.classes[:] = [type(c)(c.label, c.class_id, c.score + 1e-6 * next(counter))"
        " for c in result.classes]",
    )
    with pytest.raises(PipelineModuleInvalid, match="breaks its contract"):
        run_build(proven, shared_cache)
    report = read(proven)
    assert report.verdict == "failed"
    assert "breaks its contract" in report.result.contract


def test_a_pipeline_that_raises_is_told_before_plans_are_built(proven: Path, tmp_path: Path):
    own_pipeline(proven, "raise KeyError('boom')")
    at = settings(tmp_path / "empty-cache")
    with pytest.raises(PipelineModuleInvalid, match=r"own:Own.*KeyError: 'boom'"):
        run_build(proven, at)
    assert not list(at.cache_path.glob("plans/*"))


def test_a_report_that_cannot_be_written(proven: Path, shared_cache: Settings):
    (proven / "build").touch()
    with pytest.raises(SystemRefused, match="cannot write into"):
        run_build(proven, shared_cache)


class Links(HTMLParser):
    """Everything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


def test_the_page_opens_offline_and_runs_no_scripts(proven: Path, shared_cache: Settings):
    run_build(proven, shared_cache)
    text = page(proven)
    links = Links()
    links.feed(text)
    assert len(links.found) == 3  # the golden samples
    assert all(link.startswith("data:image/jpeg;base64,") for link in links.found)
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"@import|url\(", text)
    for words in ("prefers-color-scheme: dark", "@media print", "<svg", "colors", "blue 0."):
        assert words in text


def test_what_comes_from_outside_is_escaped(project: Path, shared_cache: Settings):
    manifest = project / "enginecrate.toml"
    manifest.write_text(
        manifest.read_text().replace("Says which", "<script>alert(1)</script> says which")
    )
    run_build(project, shared_cache)
    assert "<script>" not in page(project)
    assert "&lt;script&gt;" in page(project)


def test_the_json_keeps_apart_what_differs_from_run_to_run(proven: Path, shared_cache: Settings):
    run_build(proven, shared_cache)
    content = json.loads((proven / "build" / "report.json").read_text())
    assert list(content) == ["format", "verdict", "reasons", "result", "run"]
    assert list(content["run"]) == [
        "finished",
        "seconds",
        "cached",
        "batches",
        "machine",
        "timings",
        "speeds",
        "report",
    ]
    assert "T" in content["run"]["finished"]
    assert not {"finished", "seconds", "machine", "timings", "speeds"} & set(content["result"])


def test_an_app_of_raw_tensors(tmp_path: Path, shared_cache: Settings):
    root = tmp_path / "linear"
    root.mkdir()
    save(wordy_linear(), root / "linear.onnx")
    (root / "enginecrate.toml").write_text(
        '[app]\nname = "linear"\nversion = "1.0.0"\n'
        '[model]\npath = "linear.onnx"\n[pipeline]\ntask = "tensors"\n'
    )
    sample = tmp_path / "ones.npz"
    np.savez(sample, x=np.ones((1, 3), np.float32))
    predictor = open_predictor(root, shared_cache)
    record_golden(predictor.predict, root / "golden", [sample])
    report = run_build(root, shared_cache)
    assert report.verdict == "proven"
    assert "y FP32 [1, 4]" in page(root)
    save(wordy_linear(seed=1), root / "linear.onnx")
    with pytest.raises(GoldenMismatch, match="4 of 4 values differ"):
        run_build(root, shared_cache)


def test_two_builds_at_once(proven: Path, tmp_path: Path):
    at = settings(tmp_path / "cache")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: run_build(proven, at), range(2))
    assert one.result == other.result
    assert sorted(path.name for path in (proven / "build").iterdir()) == [
        "report.html", "report.json",
    ]  # fmt: skip
    assert len(list((tmp_path / "cache" / "plans").iterdir())) == 1
