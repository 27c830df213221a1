"""From a target and its typed graph to the plan: out of the cache, or built and put there."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from enginecrate import __version__
from enginecrate.build.project import Project
from enginecrate.build.targets import Target, choose_targets
from enginecrate.build.variants import Variant, obtain_variant
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import NO_AIDS, Backend, BuildAids, BuildOptions, Plan
from enginecrate.engines.batch import default_profiles
from enginecrate.engines.onnxruntime_backend import current_platform
from enginecrate.engines.plans import PlanRequest, PlanStore
from enginecrate.errors import BackendUnavailable
from enginecrate.graph.model import graph_digest
from enginecrate.graph.simplify import simplifier
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["ObtainedPlan", "build_options", "ensure_plan", "obtain_plan"]


@dataclass(frozen=True, slots=True)
class ObtainedPlan:
    """A plan, whether the cache had it, and what its builder said about it."""

    plan: Plan
    cached: bool
    notes: tuple[str, ...] = ()


def ensure_plan(project: Project, settings: Settings, progress: Progress = no_progress) -> Plan:
    """The project's plan for the first of its stacks that can be built. As `obtain_plan`."""
    target = next(one for one in choose_targets(project.manifest)[0] if one.device == "cpu")
    variant = obtain_variant(project, target.precision, target.scheme, settings, progress)
    return obtain_plan(project, target, variant, settings, progress).plan


def obtain_plan(
    project: Project,
    target: Target,
    variant: Variant,
    settings: Settings,
    progress: Progress = no_progress,
    aids: BuildAids = NO_AIDS,
) -> ObtainedPlan:
    """Take the plan from the cache; when it is not there, build and store it.

    Raises:
        BackendUnavailable: the backend does not work on this machine.
        PlanBuildFailed: the backend refuses the graph.
        CacheUnusable: the cache folder cannot be used.
    """
    backend = get_backend(target.rung.backend)
    options = build_options(project, target, variant)
    key = PlanStore.key(_request(project, backend, variant, options))
    store = PlanStore(settings.cache_path)
    plan = store.get(key)
    if plan is not None:
        return ObtainedPlan(plan, cached=True)
    built = backend.build(variant.graph.model, options, progress, aids)
    return ObtainedPlan(store.put(key, built), cached=False, notes=built.notes)


def build_options(project: Project, target: Target, variant: Variant) -> BuildOptions:
    """What shapes the plan of one target."""
    build = project.manifest.build
    return BuildOptions(
        stack=target.stack.name,
        device=target.device,
        precision=variant.graph.precision,
        layers=variant.graph.layers,
        calibration_digest=variant.calibration_digest,
        profiles=project.profiles or default_profiles(project.model),
        tools={"onnx": importlib.metadata.version("onnx"), "simplifier": simplifier()},
        workspace_bytes=build.workspace_mib * 2**20,
        optimization_level=build.optimization_level,
        version_compatible=build.version_compatible,
        hardware_compatibility=build.hardware_compatibility,
        strip_weights=build.strip_weights,
    )


def _request(
    project: Project, backend: Backend, variant: Variant, options: BuildOptions
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
        graph_digest=str(graph_digest(variant.graph.model)),
        precision=options.precision,
        profiles=tuple(dict(profile) for profile in options.profiles),
        options=backend.plan_options(options),
        calibration_digest=options.calibration_digest,
        hardware_compatibility=options.hardware_compatibility,
        version_compatible=options.version_compatible,
        weights="stripped" if options.strip_weights else "full",
    )
