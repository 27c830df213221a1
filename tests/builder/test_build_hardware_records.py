"""Measurements on a GPU are known to builds elsewhere."""

from pathlib import Path

import msgspec
import pytest

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.figures import share_figure
from enginecrate.builder.conformance.project_plans import run_plans
from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.builder.plans.build_all import make_plans
from enginecrate.builder.plans.targets import choose_targets
from enginecrate.builder.project.project import open_project
from enginecrate.builder.proof.examination import examine_plans
from enginecrate.builder.proof.hardware_records import (
    HardwareRecord,
    load_record,
    record_path,
    save_record,
)
from enginecrate.settings import Settings
from tiny_project import make_project, settings, write_photos

GPU = '\n[targets]\nstacks = ["trtrtx17-cuda130"]\ngpus = ["L4"]\n'


@pytest.fixture
def options(tmp_path: Path) -> Settings:
    return settings(tmp_path / "cache")


def test_a_record_replaces_the_simulation(
    tmp_path: Path, options: Settings, monkeypatch: pytest.MonkeyPatch
):
    plain = make_project(tmp_path / "plain")
    predictor = open_predictor(plain, options)
    root = make_project(tmp_path / "project", extra=GPU)
    record_golden(predictor.predict, root / "golden", write_photos(tmp_path / "photos"))
    predictor.close()
    project = open_project(root, options)
    inputs = GraphInputs(project, options)
    results = make_plans(inputs, choose_targets(project.manifest)[0], options)
    before = examine_plans(project, results, inputs.evaluation_set, options)
    assert [one.way for one in before] == ["simulated", "measured"]
    paths: list[Path] = []

    def remember(*arguments: object) -> Path:
        paths.append(record_path(*arguments))  # type: ignore[arg-type]
        return paths[-1]

    # Only the key is watched; what is stored there is read by the real code.
    monkeypatch.setattr("enginecrate.builder.proof.examination.record_path", remember)
    examine_plans(project, results, inputs.evaluation_set, options)
    (path,) = paths
    evaluation = Evaluation(
        task="classification",
        proof="measured",
        photos=3,
        agreement=share_figure("top-1 agreement", 2, 3),
        required=0.95,
        figures=(),
    )
    info = results[0].obtained.plan.info  # type: ignore[union-attr]
    record = HardwareRecord(
        graph_digest=info.graph_digest,
        backend=info.backend,
        backend_version=info.backend_version,
        device=info.device,
        gpu="L4",
        evaluation=evaluation,
    )
    save_record(path, record)
    assert load_record(path) == record
    after = examine_plans(project, results, inputs.evaluation_set, options)
    assert (after[0].way, after[0].evaluation) == ("measured", evaluation)
    assert after[0].failed
    assert after[1].evaluation == before[1].evaluation


def test_a_damaged_record_counts_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "hardware"
    folder.mkdir(mode=0o700)
    (folder / "some.json").write_bytes(msgspec.json.encode({"format": 1}))
    assert load_record(folder / "some.json") is None
    assert "cannot be read" in caplog.text
    assert load_record(folder / "other.json") is None


def test_plans_run_where_their_device_is(tmp_path: Path, options: Settings):
    project = open_project(make_project(tmp_path / "project"), options)
    (one,) = run_plans(project, options)
    assert (one.way, one.result.target.device, one.failed) == ("measured", "cpu", False)
