"""A small network with labelled photos, from training to the gate."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.project.project import open_project
from enginecrate.builder.run import run_build
from enginecrate.errors import AccuracyTooLow, EvaluationInvalid, NotWorthwhile
from enginecrate.graph.typed import Scheme
from enginecrate.values import Precision
from running import PROGRAM, ROOT, clean_environment
from tiny_project import settings

SCRIPT = ROOT / "scripts" / "fixtures" / "train_digits.py"
SECOND_INPUT = "b"
"""The tensor between both convolutions."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "digits"
    subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def digits(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "digits")


def change(project: Path, old: str, new: str) -> None:
    manifest = (project / "enginecrate.toml").read_text()
    assert old in manifest
    (project / "enginecrate.toml").write_text(manifest.replace(old, new))


def obtain(project: Path, cache: Path, scheme: Scheme = Scheme.TENSORRT) -> GraphResult:
    with_cache = settings(cache)
    inputs = GraphInputs(open_project(project, with_cache), with_cache)
    return obtain_graph(inputs, Precision.INT8, scheme, with_cache)


def damage(cache: Path, tensor: str) -> None:
    """Make one scale of every calibration table fifty times too small; forget the graphs."""
    tables = list((cache / "calibration").glob("*.json"))
    assert tables
    for path in tables:
        table = json.loads(path.read_text())
        table["chosen"][tensor] = [end / 50 for end in table["chosen"][tensor]]
        path.write_text(json.dumps(table, sort_keys=True, indent=1) + "\n")
    shutil.rmtree(cache / "graphs")


def test_calibrate_and_build_keep_the_accuracy(digits: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    subprocess.run(
        [PROGRAM, "calibrate", "--project", digits, "--cache-dir", cache],
        check=True,
        capture_output=True,
        env=clean_environment(),
    )
    report = run_build(digits, settings(cache))
    assert report.verdict != "failed"
    graph = obtain(digits, cache)
    assert graph.typed.precision is Precision.INT8
    assert graph.labelled is not None
    reference, candidate = graph.labelled.reference, graph.labelled.candidate
    assert reference.n == candidate.n == 597
    assert reference.value is not None
    assert candidate.value is not None
    assert reference.value > 0.9
    assert reference.value - candidate.value <= 0.005
    assert candidate.low is not None
    assert candidate.high is not None
    assert candidate.low < candidate.value < candidate.high
    weights = {tensor.name: tensor for tensor in graph.typed.model.proto.graph.initializer}
    kinds = {tensor.data_type for tensor in weights.values()}
    assert onnx.TensorProto.INT8 in kinds  # zero points of the pairs


def test_a_damaged_scale_fails_the_gate(digits: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    obtain(digits, cache)
    damage(cache, SECOND_INPUT)
    with pytest.raises(AccuracyTooLow, match=r"int8 graph.*simulated.*0\.980") as raised:
        obtain(digits, cache)
    assert raised.value.evaluation.agreement.value < 0.9
    assert raised.value.evaluation.worst


def test_a_build_with_a_damaged_scale_fails(digits: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    obtain(digits, cache)
    damage(cache, SECOND_INPUT)
    with pytest.raises(AccuracyTooLow):
        run_build(digits, settings(cache))


def test_the_truth_is_a_gate_of_its_own(digits: Path, tmp_path: Path):
    """Without agreement asked for, the labelled photos still refuse the damaged graph."""
    change(digits, "min_agreement = 0.98", "min_agreement = 0.0")
    cache = tmp_path / "cache"
    obtain(digits, cache)
    damage(cache, SECOND_INPUT)
    with pytest.raises(AccuracyTooLow, match=r"against the truth.*top-1 of FP32"):
        obtain(digits, cache)


def test_recovery_keeps_the_damaged_layer(digits: Path, tmp_path: Path):
    """The layer behind the tensor with the spoiled scale is found, and stays in float."""
    change(digits, "allow_mixed = false", "allow_mixed = true")
    cache = tmp_path / "cache"
    obtain(digits, cache)
    damage(cache, "image")
    graph = obtain(digits, cache)
    assert graph.typed.precision is Precision.MIXED
    assert graph.recovery is not None
    assert [one.node for one in graph.recovery.kept] == ["first"]
    assert [step.kept for step in graph.recovery.steps] == [0, 0, 1]
    assert graph.recovery.share >= 0.6
    assert {one.node: one.precision for one in graph.typed.layers} == {
        "first": Precision.FP32,
        "second": Precision.INT8,
        "score": Precision.INT8,
    }
    assert "first" in graph.typed.notes[-1]


def test_restoring_nearly_everything_is_not_worthwhile(digits: Path, tmp_path: Path):
    """The second convolution has most of the work, so it may not stay in float."""
    change(digits, "allow_mixed = false", "allow_mixed = true")
    cache = tmp_path / "cache"
    obtain(digits, cache)
    damage(cache, SECOND_INPUT)
    with pytest.raises(
        NotWorthwhile, match=r"INT8 is not worthwhile for this model here"
    ) as raised:
        obtain(digits, cache)
    assert raised.value.evaluation is not None
    assert not list((cache / "graphs").glob("*.partial"))


def test_unknown_classes_are_named(digits: Path, tmp_path: Path):
    (digits / "labelled" / "7").rename(digits / "labelled" / "seven")
    with pytest.raises(EvaluationInvalid, match=r"'seven'"):
        obtain(digits, tmp_path / "cache")
