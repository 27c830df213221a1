"""Every plan of a build is made: typed graphs one after the other, plans side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.typed_graphs import obtain_graph, scheme_of_graph
from enginecrate.builder.plans.memory import free_bytes
from enginecrate.builder.plans.plan import ObtainedPlan, obtain_plan
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.errors import (
    AccuracyTooLow,
    BackendUnavailable,
    EnginecrateError,
    ModelUnsupported,
    NotWorthwhile,
    PlanBuildFailed,
    TooFewPhotos,
)
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.typed import Scheme
from enginecrate.settings import Settings
from enginecrate.stacks.model_limits import model_refusal
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["MEASURED", "TargetResult", "build_jobs", "make_plans"]

_PER_TARGET = (
    AccuracyTooLow,
    BackendUnavailable,
    ModelUnsupported,
    NotWorthwhile,
    PlanBuildFailed,
    TooFewPhotos,
)
"""Errors that spoil one target and leave the others alone."""

_BASE_BYTES = 1 << 30
_MODEL_COPIES = 6
"""A builder holds the graph, its parsed form and several candidates of every layer's weights."""

MEASURED = (AccuracyTooLow, NotWorthwhile, TooFewPhotos)
"""Errors with something to show: the report is written even if nothing could be made."""

GraphKind = tuple[Precision, Scheme]
Graphs = dict[GraphKind, GraphResult | EnginecrateError]


class _Stopped(Exception):
    """The whole build has ended."""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """The outcome of one target: a plan, or the error that stands in its place."""

    target: Target
    graph: GraphResult | None = None
    obtained: ObtainedPlan | None = None
    error: EnginecrateError | None = None


def make_plans(
    inputs: GraphInputs,
    targets: Sequence[Target],
    settings: Settings,
    progress: Progress = no_progress,
) -> list[TargetResult]:
    """Make the plan of each target; those that cannot be made do not stop the others.

    Raises:
        EnginecrateError: nothing could be made, and of no target because of what was measured:
            the first target's error. Or something that concerns all of them: the project, its
            photos, the cache.
    """
    graphs = _obtain_graphs(inputs, targets, settings, progress)
    results = list(_make_all(inputs.project, targets, graphs, settings, progress))
    errors = [result.error for result in results if result.error]
    if len(errors) == len(results) and not any(isinstance(error, MEASURED) for error in errors):
        raise errors[0]
    return results


def build_jobs(project: Project, settings: Settings) -> int:
    """The number of plans that are built at once: as many as cores, as far as the memory allows."""
    if settings.build_jobs:
        return settings.build_jobs
    job_bytes = _BASE_BYTES + _MODEL_COPIES * project.model.source_bytes
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes() // job_bytes))


def _kind(target: Target) -> GraphKind:
    return target.precision, scheme_of_graph(target.precision, target.scheme)


def _obtain_graphs(
    inputs: GraphInputs, targets: Sequence[Target], settings: Settings, progress: Progress
) -> Graphs:
    """Each uses every core by itself, so they are made one after the other."""
    graphs: Graphs = {}
    for precision, scheme in dict.fromkeys(map(_kind, targets)):
        try:
            graphs[precision, scheme] = obtain_graph(inputs, precision, scheme, settings, progress)
        except _PER_TARGET as exc:
            graphs[precision, scheme] = exc
    return graphs


def _make_all(
    project: Project,
    targets: Sequence[Target],
    graphs: Graphs,
    settings: Settings,
    progress: Progress,
) -> Iterator[TargetResult]:
    """In the order of the targets."""
    stop = threading.Event()

    def going(step: str, done: int, total: int) -> None:
        # What is raised here, when a build tells how far it is, ends the build and its process.
        if stop.is_set():
            raise _Stopped

    with ThreadPoolExecutor(build_jobs(project, settings), thread_name_prefix="build") as pool:
        futures = [
            pool.submit(_make, project, target, graphs[_kind(target)], settings, going)
            for target in targets
        ]
        try:
            _watch(futures, progress)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    yield from (future.result() for future in futures)


def _watch(futures: Sequence[Future[TargetResult]], progress: Progress) -> None:
    left = set(futures)
    while left:
        progress("build the plans", len(futures) - len(left), len(futures))
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()  # what concerns all targets need not wait for the others
    progress("build the plans", len(futures), len(futures))


def _require_runtime(target: Target, graph: GraphResult) -> None:
    """Raise `ModelUnsupported` when the onnxruntime of the target's stack is too old."""
    if target.rung.backend == "onnxruntime":
        proto = graph.typed.model.proto
        if refusal := model_refusal(target.stack, proto.ir_version, opset_of(proto)):
            raise ModelUnsupported(refusal)


def _make(
    project: Project,
    target: Target,
    graph: GraphResult | EnginecrateError,
    settings: Settings,
    progress: Progress,
) -> TargetResult:
    if isinstance(graph, EnginecrateError):
        return TargetResult(target, error=graph)
    try:
        _require_runtime(target, graph)
        obtained = obtain_plan(project, target, graph, settings, progress)
    except _PER_TARGET as exc:
        return TargetResult(target, graph, error=exc)
    return TargetResult(target, graph, obtained)
