"""The conformance of every backend of this machine: each must compute what it should.

Tiny models run in every precision that the backend builds, and are compared with onnxruntime on
the CPU. A model whose device is not here is built where that is possible, and never called passed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from enginecrate.builder.conformance.models import CASES, Case, reference_outputs, typed_graph
from enginecrate.engines.backends import BACKENDS, get_backend
from enginecrate.engines.base import Backend, BuildOptions, Engine, Plan, RunOptions
from enginecrate.errors import (
    BackendUnavailable,
    ConformanceFailed,
    EnginecrateError,
    GraphError,
    PlanBuildFailed,
)
from enginecrate.files.private_folder import write_ours
from enginecrate.graph.cast.cast import cast_nodes
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.stacks.catalog import Stack, load_stacks
from enginecrate.values import (
    ComputeCapability,
    Precision,
    Progress,
    Tensors,
    current_platform,
    no_progress,
)
from enginecrate.version import __version__

__all__ = ["CaseResult", "Conformance", "judge", "run_conformance", "write_records"]

Outcome = Literal["passed", "failed", "refused", "built, not run", "unavailable"]

# Largest difference over the largest absolute value of the reference. FP32 leaves room for TF32,
# which NVIDIA's libraries use for FP32 products (10 bits of mantissa); INT8 and FP8 are compared
# with the quantised graph, where a value on the border between two steps may fall to either side.
_TOLERANCES: dict[Precision, float] = {
    Precision.FP32: 2e-3,
    Precision.FP16: 1e-2,
    Precision.BF16: 5e-2,
    Precision.INT8: 3e-2,
    Precision.FP8: 8e-2,
}
_REPEATS = 3  # plain, recorded as a CUDA graph, played again
_SAMPLE_TARGET = "sm89"  # takes every precision
_NEEDS = {Precision.BF16: ComputeCapability(8, 0), Precision.FP8: ComputeCapability(8, 9)}


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One model in one precision on one device.

    detail: why it did not pass, or what to know.
    largest_error: of all runs, relative to the largest value of the reference; -1 when not run.
    """

    backend: str
    version: str
    device: str
    case: str
    precision: str
    outcome: Outcome
    tolerance: float = 0.0
    largest_error: float = -1.0
    runs: int = 0
    detail: str = ""


class Conformance(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, and how it ended."""

    platform: str
    tool_version: str
    results: tuple[CaseResult, ...]


def run_conformance(backends: Sequence[str] = (), progress: Progress = no_progress) -> Conformance:
    """Run every case on every device of the backends.

    Args:
        backends: by name; empty: all of this version.
        progress: told which case is running.

    Raises:
        BackendUnavailable: there is no backend of a name.
    """
    chosen = [get_backend(name) for name in (backends or BACKENDS)]
    results: list[CaseResult] = []
    with tempfile.TemporaryDirectory(prefix="enginecrate-conformance-") as folder:
        models = {case.name: _model(case, Path(folder)) for case in CASES}
        jobs = [job for backend in chosen for job in _jobs(backend, Path(folder))]
        total = sum(isinstance(job, _Job) for job in jobs)
        done = 0
        for job in jobs:
            if isinstance(job, CaseResult):
                results.append(job)
                continue
            progress("conformance", done, total)
            results.append(job.run(models[job.case.name]))
            done += 1
        progress("conformance", total, total)
    return Conformance(
        platform=current_platform(), tool_version=__version__, results=tuple(results)
    )


def judge(conformance: Conformance, required: Sequence[str] = ()) -> None:
    """Raise what the outcome deserves.

    Args:
        conformance: what was run.
        required: backends that were asked for by name, which must have run.

    Raises:
        ConformanceFailed: a backend computes something else, or refuses what it must take.
        BackendUnavailable: a required backend has no device here, so nothing was proven.
    """
    failed = [one for one in conformance.results if one.outcome == "failed"]
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise ConformanceFailed(
            f"{first.backend} {first.version} on {first.device} fails {first.case} in "
            f"{first.precision}: {first.detail}{more}; do not ship plans of this backend for this "
            "device; upgrade its driver and libraries (`enginecrate doctor`), or choose another "
            "stack"
        )
    for name in required:
        rows = [one for one in conformance.results if one.backend == name]
        if not any(one.outcome == "passed" for one in rows):
            detail = next((one.detail for one in rows if one.detail), "it has no device here")
            raise BackendUnavailable(f"{name} was not run on this machine: {detail}")


def write_records(conformance: Conformance, settings: Settings) -> tuple[Path, ...]:
    """Keep what was run on hardware: `<cache>/conformance/<backend>-<version>-<device>.json`.

    The part `compared` is the same for the same outcome; times are in `run`. What was only built
    leaves no record.

    Raises:
        CacheUnusable: the cache folder cannot be written.
    """
    folder = settings.cache_path / "conformance"
    groups: dict[tuple[str, str, str], list[CaseResult]] = {}
    for result in conformance.results:
        if result.runs:
            groups.setdefault((result.backend, result.version, result.device), []).append(result)
    paths = []
    for names, rows in groups.items():
        path = folder / (
            "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", name) for name in names) + ".json"
        )
        write_ours(path, _record(conformance, names, rows), "the record")
        paths.append(path)
    return tuple(paths)


class _Job:
    """One case in one precision on one device; `runs`: whether the device is here."""

    def __init__(
        self, backend: Backend, version: str, device: str, case: Case, precision: Precision,
        folder: Path, runs: bool,
    ) -> None:  # fmt: skip
        self.backend, self.version, self.device = backend, version, device
        self.case, self.precision = case, precision
        self._folder, self._runs = folder, runs

    def run(self, model: OnnxModel) -> CaseResult:
        try:
            graph, plan = self._build(model)
        except (PlanBuildFailed, GraphError) as exc:
            refusal: Outcome = "refused" if self.case.optional else "failed"
            return self._result(refusal, detail=str(exc))
        except EnginecrateError as exc:
            return self._result("failed", detail=str(exc))
        if not self._runs:
            return self._result("built, not run", detail=f"this machine has no {self.device}")
        try:
            return self._compare(model, graph, plan)
        except EnginecrateError as exc:
            return self._result("failed", runs=1, detail=str(exc))

    def _build(self, model: OnnxModel) -> tuple[TypedGraph, Plan]:
        scheme = Scheme.CPU if self.device == "cpu" else Scheme.TENSORRT
        scheme = Scheme.FP8 if self.precision is Precision.FP8 else scheme
        graph = typed_graph(model, self.precision, scheme, self.case.inputs)
        try:
            return graph, self._plan(graph)
        except PlanBuildFailed as exc:
            if not exc.needs_fp16:
                raise
            graph = cast_nodes(graph, exc.nodes)  # as `enginecrate build` does
            return graph, self._plan(graph)

    def _plan(self, graph: TypedGraph) -> Plan:
        options = BuildOptions(
            stack="conformance",
            device=self.device,
            precision=graph.precision,
            layers=graph.layers,
            profiles=self.case.profiles,
        )
        built = self.backend.build(graph.model, options)
        path = self._folder / "plan.engine"
        path.write_bytes(built.data)
        return Plan(path, built.info)

    def _compare(self, model: OnnxModel, graph: TypedGraph, plan: Plan) -> CaseResult:
        references = reference_outputs(model, graph.model, self.precision, self.case.inputs)
        tolerance = self._tolerance(graph)
        largest, runs = 0.0, 0
        with closing(self.backend.load(plan, RunOptions(threads=1))) as engine:
            for tensors, expected in zip(self.case.inputs, references, strict=True):
                for answer in _answers(engine, tensors):
                    problem, error = _difference(expected, answer)
                    largest, runs = max(largest, error), runs + 1
                    if problem or not error <= tolerance:
                        detail = problem or f"differs by {error:.2g}, allowed is {tolerance:g}"
                        return self._result("failed", tolerance, largest, runs, detail)
        note = "" if graph.precision == self.precision else f"the plan is {graph.precision}"
        return self._result("passed", tolerance, largest, runs, note)

    def _tolerance(self, graph: TypedGraph) -> float:
        precisions = {layer.precision for layer in graph.layers} | {self.precision}
        return max(_TOLERANCES[one] for one in precisions if one in _TOLERANCES)

    def _result(
        self,
        outcome: Outcome,
        tolerance: float = 0.0,
        largest: float = -1.0,
        runs: int = 0,
        detail: str = "",
    ) -> CaseResult:
        return CaseResult(
            backend=self.backend.name,
            version=self.version,
            device=self.device,
            case=self.case.name,
            precision=str(self.precision),
            outcome=outcome,
            tolerance=tolerance,
            largest_error=largest,
            runs=runs,
            detail=detail,
        )


def _jobs(backend: Backend, folder: Path) -> Iterator[_Job | CaseResult]:
    available = backend.probe()
    reason = "; ".join(text for text in (available.reason, available.cure) if text)
    if not available.usable or not available.devices:
        yield CaseResult(
            backend=backend.name,
            version=available.version,
            device="-",
            case="-",
            precision="-",
            outcome="unavailable",
            detail=reason,
        )
    if not available.usable:
        return
    for device in available.devices or (_SAMPLE_TARGET,):
        precisions = _precisions(backend.name, available.version, device)
        for case in CASES:
            for precision in (one for one in case.precisions if one in precisions):
                runs = device in available.devices
                yield _Job(backend, available.version, device, case, precision, folder, runs)


def _precisions(backend: str, version: str, device: str) -> set[Precision]:
    """Those that the stacks of this version of the backend build for this device."""
    kind = "cpu" if device == "cpu" else "gpu"
    lacks = {one for one, least in _NEEDS.items() if device[:2] == "sm" and _before(device, least)}
    stacks = [one for one in load_stacks().values() if one.rungs[0].backend == backend]
    same = [one for one in stacks if _major(one, backend) == version.partition(".")[0]]
    return {
        precision
        for stack in same or stacks
        for rung in stack.rungs
        if (rung.backend, rung.device) == (backend, kind)
        for precision in rung.precisions
    } - lacks


def _before(device: str, least: ComputeCapability) -> bool:
    return ComputeCapability.parse(device) < least


def _major(stack: Stack, backend: str) -> str:
    return stack.versions.get(backend, "").partition(".")[0]


def _model(case: Case, folder: Path) -> OnnxModel:
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.make().SerializeToString(deterministic=True))
    return replace(read_model(path), source=Path(f"{case.name}.onnx"))


def _answers(engine: Engine, tensors: Tensors) -> Iterator[Tensors]:
    for _ in range(_REPEATS):
        yield engine.run(tensors)
    on_device: Any = getattr(engine, "run_on_device", None)
    if on_device is not None:
        yield {name: array.numpy() for name, array in on_device(tensors).items()}


def _difference(expected: Tensors, answer: Tensors) -> tuple[str, float]:
    """The faults in kind, and the largest difference relative to the largest value."""
    largest = 0.0
    for name, want in expected.items():
        have = answer.get(name)
        if have is None:
            return f"output {name!r} is missing", 0.0
        if have.shape != want.shape or have.dtype != want.dtype:
            shapes = f"{have.dtype} {list(have.shape)} instead of {want.dtype} {list(want.shape)}"
            return f"output {name!r} is {shapes}", 0.0
        if not want.size:
            continue
        if want.dtype.kind != "f":
            if not np.array_equal(have, want):
                return f"output {name!r} has other whole numbers", 0.0
            continue
        error = np.abs(have.astype(np.float64) - want.astype(np.float64)).max()
        scale = float(np.abs(want).max()) or 1.0
        largest = max(largest, float(error) / scale) if np.isfinite(error) else float("inf")
    return "", largest


def _record(
    conformance: Conformance, names: tuple[str, str, str], rows: Sequence[CaseResult]
) -> bytes:
    backend, version, device = names
    cases = [
        {
            "case": row.case,
            "precision": row.precision,
            "outcome": row.outcome,
            "runs": row.runs,
            "tolerance": row.tolerance,
            "detail": row.detail if row.outcome != "passed" else "",
        }
        for row in rows
    ]
    compared = {
        "format": 1,
        "backend": backend,
        "version": version,
        "device": device,
        "platform": conformance.platform,
        "tool_version": conformance.tool_version,
        "cases": cases,
    }
    errors = {f"{row.case} {row.precision}": row.largest_error for row in rows}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"compared": compared, "run": {"at": at, "largest_error": errors}}
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2) + b"\n"
