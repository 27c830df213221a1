"""From a project to its plan: out of the cache, or built and put there."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass

from enginecrate import __version__
from enginecrate.build.project import Project
from enginecrate.build.targets import Target, check_precision, choose_targets
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Backend, BuildOptions, Plan
from enginecrate.engines.onnxruntime_backend import current_platform
from enginecrate.engines.plans import PlanRequest, PlanStore
from enginecrate.errors import BackendUnavailable
from enginecrate.graph.simplify import simplifier, simplify
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["ObtainedPlan", "ensure_plan", "obtain_plan"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObtainedPlan:
    """A plan, and whether the cache had it."""

    plan: Plan
    cached: bool


def ensure_plan(project: Project, settings: Settings, progress: Progress = no_progress) -> Plan:
    """The project's plan for the first of its stacks that can be built. As `obtain_plan`."""
    return obtain_plan(project, settings, progress).plan


def obtain_plan(
    project: Project, settings: Settings, progress: Progress = no_progress
) -> ObtainedPlan:
    """Take the plan from the cache; when it is not there, simplify, build and store it.

    Raises:
        StackUnsupported: this version can build for none of the manifest's stacks.
        PrecisionUnsupported: this version cannot build the manifest's precision.
        BackendUnavailable: the backend does not work on this machine.
        PlanBuildFailed: the backend refuses the model.
        CacheUnusable: the cache folder cannot be used.
    """
    check_precision(project.manifest.precision.precision)
    target = choose_targets(project.manifest.targets.stacks)[0][0]
    backend = get_backend(target.backend)
    options = _options(project, target)
    key = PlanStore.key(_request(project, backend, options))
    store = PlanStore(settings.cache_path)
    progress("look into the plan cache", 0, 1)
    store.sweep()
    plan = store.get(key)
    progress("look into the plan cache", 1, 1)
    if plan is not None:
        return ObtainedPlan(plan, cached=True)
    progress("simplify the graph", 0, 1)
    simplified = simplify(project.model)
    if simplified.note:
        _log.warning("%s: %s", project.model.source, simplified.note)
    progress("simplify the graph", 1, 1)
    built = backend.build(simplified.model, options, progress)
    return ObtainedPlan(store.put(key, built), cached=False)


def _options(project: Project, target: Target) -> BuildOptions:
    return BuildOptions(
        stack=target.stack,
        precision=project.manifest.precision.precision,
        profiles=project.profiles,
        tools={"onnx": importlib.metadata.version("onnx"), "simplifier": simplifier()},
    )


def _request(project: Project, backend: Backend, options: BuildOptions) -> PlanRequest:
    available = backend.probe()
    if not available.usable:
        raise BackendUnavailable(f"{available.reason}; {available.cure}")
    return PlanRequest(
        backend=backend.name,
        backend_version=available.version,
        tool_version=__version__,
        stack=options.stack,
        platform=current_platform(),
        device=available.devices[0],
        model_digest=str(project.model.source_digest),
        precision=options.precision,
        profiles=tuple(dict(profile) for profile in options.profiles),
        options={"graph_optimization": options.graph_optimization, **options.tools},
    )
