"""From a target and its typed graph to the plan: out of the cache, or built and put there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.plans.history import record
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import (
    NO_AIDS,
    Backend,
    BuildAids,
    BuildOptions,
    BuiltPlan,
    Plan,
    RunOptions,
)
from enginecrate.engines.batch_limit import default_profiles
from enginecrate.engines.cache.plan_files import TemporaryFiles
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.engines.cache.timing_caches import TimingCaches
from enginecrate.errors import BackendUnavailable, CacheFull, PlanBuildFailed
from enginecrate.graph.cast.cast import cast_nodes
from enginecrate.graph.onnx.model import OnnxModel, graph_digest
from enginecrate.graph.rewrite.simplify import simplifier
from enginecrate.graph.typed import TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Progress, current_platform, no_progress
from enginecrate.version import __version__

__all__ = [
    "ObtainedPlan",
    "WhenFull",
    "build_options",
    "obtain_plan",
    "run_options",
    "with_weights",
]

_MOST_REMEDIES = 8

_WEIGHTS = "weights.onnx"
"""The ONNX graph beside a plan without weights."""

WhenFull = Callable[[BuiltPlan, CacheFull], Plan]


@dataclass(frozen=True, slots=True)
class ObtainedPlan:
    """A plan, the graph that it was built from, and what there is to say about it.

    cached: whether the cache had it.
    remedied: whether nodes of the graph were cast, because the device refused them.
    notes: what was done so that the device takes the graph, one sentence each.
    said: by the builder, one sentence each.
    """

    plan: Plan
    graph: TypedGraph
    cached: bool
    remedied: bool = False
    notes: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def obtain_plan(
    project: Project,
    target: Target,
    graph: GraphResult,
    settings: Settings,
    progress: Progress = no_progress,
    aids: BuildAids = NO_AIDS,
    when_full: WhenFull | None = None,
) -> ObtainedPlan:
    """Take the plan from the cache; when it is not there, build and store it.

    Nodes that the device takes in FP16 alone are cast, unless the manifest forbids it
    (`precision.allow_mixed`); the plan is then `mixed`, and the notes name them.

    Args:
        project: whose plan it is.
        target: what it is for.
        graph: the typed graph, with what is known about it.
        settings: cache folder and its limit.
        progress: told what goes on.
        aids: for the builder.
        when_full: takes a plan that the cache has no room for; without it, that is an error.

    Raises:
        BackendUnavailable: the backend does not work on this machine.
        PlanBuildFailed: the backend refuses the graph.
        CacheUnusable: the cache folder cannot be used.
        CacheFull: there is no room for the plan, and no `when_full`.
    """
    notes: list[str] = []
    for _ in range(_MOST_REMEDIES):
        try:
            obtained = _obtain(project, target, graph, settings, progress, aids, when_full)
        except PlanBuildFailed as exc:
            if not (exc.needs_fp16 and exc.nodes):
                raise
            if not project.manifest.precision.allow_mixed:
                raise PlanBuildFailed(
                    f"{exc}; precision.allow_mixed = true in the manifest lets them be cast"
                ) from exc
            graph = replace(graph, typed=cast_nodes(graph.typed, exc.nodes))
            nodes = ", ".join(exc.nodes)
            notes.append(f"{target.device} refuses these nodes in FP32; they run in FP16: {nodes}")
        else:
            record(project, target, obtained.plan, settings)
            return replace(obtained, remedied=bool(notes), notes=tuple(notes))
    raise PlanBuildFailed(f"{target}: more and more nodes are refused: {'; '.join(notes)}")


def _obtain(
    project: Project,
    target: Target,
    graph: GraphResult,
    settings: Settings,
    progress: Progress,
    aids: BuildAids,
    when_full: WhenFull | None,
) -> ObtainedPlan:
    backend = get_backend(target.rung.backend)
    options = build_options(project, target, graph)
    key = PlanStore.key(_request(project, backend, graph, options))
    store = PlanStore(settings.cache_path, settings.cache_max_bytes)
    made: list[BuiltPlan] = []

    def build() -> BuiltPlan:
        made.append(_build(backend, graph, options, settings, progress, aids))
        return made[0]

    try:
        plan, _ = store.obtain(key, build, progress)
    except CacheFull as exc:
        if when_full is None:
            raise
        plan = when_full(made[0] if made else build(), exc)
    return ObtainedPlan(plan, graph.typed, cached=not made, said=plan.info.notes)


def _build(
    backend: Backend,
    graph: GraphResult,
    options: BuildOptions,
    settings: Settings,
    progress: Progress,
    aids: BuildAids,
) -> BuiltPlan:
    """Build with what earlier builds for this device have measured."""
    caches = TimingCaches(settings.cache_path)
    name = (backend.name, backend.probe().version, options.device)
    aids = replace(aids, timing_cache=aids.timing_cache or caches.get(*name))
    built = backend.build(graph.typed.model, options, progress, aids)
    if built.timing_cache:
        caches.put(*name, built.timing_cache)
    built = replace(built, info=msgspec.structs.replace(built.info, notes=built.notes))
    return built if built.info.weights == "full" else with_weights(built, graph.typed.model)


def with_weights(built: BuiltPlan, graph: OnnxModel) -> BuiltPlan:
    """A plan without weights, with the ONNX graph that they come from beside it."""
    files = TemporaryFiles()
    (files.folder() / _WEIGHTS).write_bytes(graph.proto.SerializeToString(deterministic=True))
    files[_WEIGHTS] = files.folder() / _WEIGHTS
    info = msgspec.structs.replace(built.info, files=files.digests())
    return replace(built, info=info, files=files)


def run_options(plan: Plan, settings: Settings, *, threads: int = 0) -> RunOptions:
    """The options that a plan is run with here: the files of its weights and of its runtime."""
    weights = plan.path.parent / _WEIGHTS if plan.info.weights == "stripped" else None
    return RunOptions(
        threads=threads, weights=weights, runtime_cache=settings.cache_path / "runtime"
    )


def build_options(project: Project, target: Target, graph: GraphResult) -> BuildOptions:
    """The options that shape the plan of one target."""
    build = project.manifest.build
    return BuildOptions(
        stack=target.stack.name,
        device=target.device,
        precision=graph.typed.precision,
        layers=graph.typed.layers,
        calibration_digest=graph.calibration_digest,
        profiles=project.profiles or default_profiles(project.model),
        tools={"onnx": importlib.metadata.version("onnx"), "simplifier": simplifier()},
        workspace_bytes=build.workspace_mib * 2**20,
        optimization_level=build.optimization_level,
        version_compatible=build.version_compatible,
        hardware_compatibility=build.hardware_compatibility,
        strip_weights=build.strip_weights,
    )


def _request(
    project: Project, backend: Backend, graph: GraphResult, options: BuildOptions
) -> PlanRequest:
    available = backend.probe()
    if not available.usable:
        raise BackendUnavailable(f"{available.reason}; {available.cure}")
    return PlanRequest(
        backend=backend.name,
        backend_version=available.version,
        tool_version=__version__,
        stack=options.stack,
        platform=current_platform(),
        device=options.device,
        model_digest=str(project.model.source_digest),
        graph_digest=str(graph_digest(graph.typed.model)),
        precision=options.precision,
        profiles=tuple(dict(profile) for profile in options.profiles),
        options=backend.plan_options(options),
        calibration_digest=options.calibration_digest,
        hardware_compatibility=options.hardware_compatibility,
        version_compatible=options.version_compatible,
        weights="stripped" if options.strip_weights else "full",
    )
