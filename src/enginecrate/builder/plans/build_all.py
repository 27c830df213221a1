"""Make every plan that a manifest wants: typed graphs one after the other, plans side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from enginecrate.builder.graphs.typed_graphs import Variant, obtain_variant
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
)
from enginecrate.graph.typed import Scheme
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["MEASURED", "Made", "build_jobs", "make_plans"]

_PER_TARGET = (
    AccuracyTooLow,
    BackendUnavailable,
    ModelUnsupported,
    NotWorthwhile,
    PlanBuildFailed,
)
"""What spoils one target and leaves the others alone."""

_BASE_BYTES = 1 << 30
_MODEL_COPIES = 6
"""A builder holds the graph, its parsed form and several candidates of every layer's weights."""

MEASURED = (AccuracyTooLow, NotWorthwhile)
"""Errors with something to show: the report is written even if nothing could be made."""

Typed = tuple[Precision, Scheme]


class _Stopped(Exception):
    """The whole build has ended."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one target: a plan, or the error that stands in its place."""

    target: Target
    variant: Variant | None = None
    obtained: ObtainedPlan | None = None
    error: EnginecrateError | None = None


def make_plans(
    project: Project,
    targets: Sequence[Target],
    settings: Settings,
    progress: Progress = no_progress,
) -> list[Made]:
    """Make the plan of each target; those that cannot be made do not stop the others.

    Raises:
        EnginecrateError: nothing could be made, and of no target because of what was measured:
            the first target's error. Or something that concerns all of them: the project, its
            photos, the cache.
    """
    variants = _make_variants(project, targets, settings, progress)
    made = list(_make_all(project, targets, variants, settings, progress))
    errors = [one.error for one in made if one.error]
    if len(errors) == len(made) and not any(isinstance(one, MEASURED) for one in errors):
        raise errors[0]
    return made


def build_jobs(project: Project, settings: Settings) -> int:
    """How many plans are built at once: as many as cores, as far as the free memory allows."""
    if settings.build_jobs:
        return settings.build_jobs
    one = _BASE_BYTES + _MODEL_COPIES * project.model.source_bytes
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes() // one))


def _make_variants(
    project: Project, targets: Sequence[Target], settings: Settings, progress: Progress
) -> dict[Typed, Variant | EnginecrateError]:
    """Each uses every core by itself, so they are made one after the other."""
    made: dict[Typed, Variant | EnginecrateError] = {}
    for precision, scheme in dict.fromkeys((one.precision, one.scheme) for one in targets):
        try:
            made[precision, scheme] = obtain_variant(project, precision, scheme, settings, progress)
        except _PER_TARGET as exc:
            made[precision, scheme] = exc
    return made


def _make_all(
    project: Project,
    targets: Sequence[Target],
    variants: dict[Typed, Variant | EnginecrateError],
    settings: Settings,
    progress: Progress,
) -> Iterator[Made]:
    """In the order of the targets."""
    stop = threading.Event()

    def going(step: str, done: int, total: int) -> None:
        # What is raised here, when a build tells how far it is, ends the build and its process.
        if stop.is_set():
            raise _Stopped

    with ThreadPoolExecutor(build_jobs(project, settings), thread_name_prefix="build") as pool:
        futures = [
            pool.submit(
                _make, project, target, variants[target.precision, target.scheme], settings, going
            )
            for target in targets
        ]
        try:
            _watch(futures, progress)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    yield from (future.result() for future in futures)


def _watch(futures: Sequence[Future[Made]], progress: Progress) -> None:
    left = set(futures)
    while left:
        progress("build the plans", len(futures) - len(left), len(futures))
        done, left = wait(left, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()  # what concerns all targets need not wait for the others
    progress("build the plans", len(futures), len(futures))


def _make(
    project: Project,
    target: Target,
    variant: Variant | EnginecrateError,
    settings: Settings,
    progress: Progress,
) -> Made:
    if isinstance(variant, EnginecrateError):
        return Made(target, error=variant)
    try:
        return Made(target, variant, obtain_plan(project, target, variant, settings, progress))
    except _PER_TARGET as exc:
        return Made(target, variant, error=exc)
