import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from enginecrate.builder.conformance import run as conformance
from enginecrate.builder.conformance.models import CASES, reference_outputs, typed_graph
from enginecrate.builder.conformance.run import judge, run_conformance, write_records
from enginecrate.engines.base import Plan, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.tensorrt.backend import TensorRtBackend
from enginecrate.errors import BackendUnavailable, ConformanceFailed
from enginecrate.graph.typed import Scheme
from enginecrate.settings import load_settings
from enginecrate.values import Precision
from tensorrt_helpers import no_gpus

ON_CPU = {("cpu", precision) for precision in ("fp32", "fp16", "int8")}


@pytest.fixture(scope="module")
def on_cpu() -> conformance.Conformance:
    return run_conformance(["onnxruntime"])


def test_onnxruntime_on_the_cpu_passes_every_case(on_cpu: conformance.Conformance):
    rows = [row for row in on_cpu.results if row.device == "cpu"]
    assert {row.case for row in rows} == {case.name for case in CASES}
    assert {(row.device, row.precision) for row in rows} >= ON_CPU
    for row in rows:
        assert (row.outcome, row.detail) == ("passed", ""), row
        assert 0 <= row.largest_error <= row.tolerance
        assert row.runs >= 3 * len(next(c for c in CASES if c.name == row.case).inputs)
    judge(on_cpu, ["onnxruntime"])


def test_the_record_says_what_was_run_and_when_only_beside_it(
    on_cpu: conformance.Conformance, tmp_path: Path
):
    settings = load_settings(flags={"cache_dir": str(tmp_path)})
    first, second = (
        next(path for path in write_records(on_cpu, settings) if path.stem.endswith("-cpu"))
        for _ in range(2)
    )
    assert first == second
    assert first.parent == tmp_path / "conformance"
    assert first.name.startswith("onnxruntime-")
    assert (first.parent.stat().st_mode & 0o777) == 0o700
    record = json.loads(first.read_text())
    assert sorted(record) == ["compared", "run"]
    assert "at" in record["run"]
    assert "at" not in record["compared"]
    assert {row["outcome"] for row in record["compared"]["cases"]} == {"passed"}


class WrongBackend(OnnxRuntimeBackend):
    """Computes everything, and then adds a hundredth to it."""

    def load(self, plan: Plan, options: RunOptions):
        engine = super().load(plan, options)

        class Wrong:
            def run(self, tensors):
                found = engine.run(tensors)
                return {name: array + array.dtype.type(0.01) for name, array in found.items()}

            def close(self):
                engine.close()

        return Wrong()


def test_a_backend_that_computes_something_else_fails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conformance, "get_backend", lambda name: WrongBackend())
    monkeypatch.setattr(conformance, "CASES", CASES[1:2])
    found = run_conformance(["onnxruntime"])
    assert {row.outcome for row in found.results if row.precision == "fp32"} == {"failed"}
    with pytest.raises(
        ConformanceFailed, match=r"onnxruntime .* on cpu fails gemm in fp32: differs"
    ):
        judge(found)


def test_what_is_only_built_is_never_called_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """TensorRT-RTX builds plans on a machine without a GPU."""
    monkeypatch.setattr(
        conformance, "get_backend", lambda name: TensorRtBackend("tensorrt_rtx", no_gpus)
    )
    chosen = [case for case in CASES if case.name in ("gemm", "data_dependent")]
    kept = (Precision.FP32, Precision.INT8, Precision.FP8)
    chosen[0] = replace(chosen[0], precisions=kept)
    monkeypatch.setattr(conformance, "CASES", tuple(chosen))
    found = run_conformance(["tensorrt_rtx"])
    outcomes = {(row.case, row.precision): row.outcome for row in found.results}
    assert outcomes == {
        ("-", "-"): "unavailable",
        ("gemm", "fp32"): "built, not run",
        ("gemm", "int8"): "built, not run",
        ("gemm", "fp8"): "built, not run",
        ("data_dependent", "fp32"): "refused",
    }
    judge(found)
    with pytest.raises(BackendUnavailable, match="tensorrt_rtx was not run on this machine: there"):
        judge(found, ["tensorrt_rtx"])
    assert write_records(found, load_settings(flags={"cache_dir": str(tmp_path)})) == ()


def test_a_backend_that_is_not_installed_is_unavailable():
    found = run_conformance(["tensorrt"])
    assert [row.outcome for row in found.results] == ["unavailable"]
    with pytest.raises(BackendUnavailable, match="tensorrt was not run on this machine"):
        judge(found, ["tensorrt"])


def test_quantised_graphs_are_compared_with_themselves_in_float(tmp_path: Path):
    case = CASES[1]
    model = conformance._model(case, tmp_path)
    graph = typed_graph(model, Precision.INT8, Scheme.TENSORRT, case.inputs)
    exact = list(reference_outputs(model, graph.model, Precision.FP32, case.inputs))
    quantised = list(reference_outputs(model, graph.model, Precision.INT8, case.inputs))
    differences = [np.abs(a["y"] - b["y"]).max() for a, b in zip(exact, quantised, strict=True)]
    assert 0 < max(differences) < 0.2
