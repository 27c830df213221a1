"""The steps of a project's ladder: where each step's plan comes from, and how it is built."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.ladder.child_process import BuiltInMemory, ChildBuild, Job, allowed_bytes
from enginecrate.builder.ladder.memory_plans import keep_in_memory, open_spare, spare_plan
from enginecrate.builder.ladder.rungs import (
    Ladder,
    Minimum,
    below_minimum,
    choose_stack,
    is_quick,
    machine_facts,
    rungs,
)
from enginecrate.builder.ladder.shipped_plans import shipped_plan
from enginecrate.builder.ladder.site_plans import site_step
from enginecrate.builder.plans.history import recall
from enginecrate.builder.plans.plan import obtain_plan
from enginecrate.builder.plans.targets import NotBuilt, Target
from enginecrate.builder.project.project import Project
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import EnginecrateError, PlanBuildFailed, StackUnsupported
from enginecrate.settings import Settings
from enginecrate.stacks.catalog import get_stack
from enginecrate.values import Progress, no_progress

__all__ = [
    "PlanSource",
    "ProjectStep",
    "Step",
    "Steps",
    "ensure_plan",
    "find_ladder",
    "open_ladder",
]

_log = logging.getLogger(__name__)


class Step(Protocol):
    """One rung that may serve."""

    @property
    def target(self) -> Target: ...
    @property
    def origin(self) -> str:
        """The origin of the plan that was found or built last; empty before."""
        ...

    @property
    def quick(self) -> bool:
        """True when its plan is built in about a second."""
        ...

    def find(self) -> Plan | None:
        """The plan, if it is there already. Raises `EnginecrateError`."""
        ...

    def build(self, progress: Progress) -> Plan:
        """Build the plan; unless it is quick, in a process of its own. Raises `EnginecrateError`.

        A quick build is not stopped.
        """
        ...

    def stop(self) -> None:
        """End a build that runs, from another thread; a later one does not start."""
        ...


@dataclass(frozen=True, slots=True)
class Steps:
    """A ladder to climb: its steps, best first, and what was left out of it.

    shortfall: why none of them counts as ready (`minimum_engine`); empty: each does.
    """

    steps: Sequence[Step]
    left_out: Sequence[NotBuilt] = ()
    shortfall: str = ""


class PlanSource(Protocol):
    """A place where plans may be found. What is long to look for counts as not there."""

    def __call__(self, project: Project, target: Target, settings: Settings) -> Plan | None: ...


SOURCES: Sequence[tuple[str, PlanSource]] = (("shipped", shipped_plan), ("cached", recall))
"""Places where plans are looked for, in this order, by the name of their origin: those that came
with the app; the cache, by what was noted when they were built."""

_BUILT = "built here"


class ProjectStep:
    """A step of a project's own ladder."""

    def __init__(self, project: Project, target: Target, settings: Settings) -> None:
        self.target = target
        self.origin = ""
        self.quick = is_quick(target)
        self._project = project
        self._settings = settings
        self._spare = -1
        self._child: ChildBuild | None = None
        self._stopped = False

    def find(self) -> Plan | None:
        for origin, source in SOURCES:
            plan = source(self._project, self.target, self._settings)
            if plan is not None:
                self.origin = origin
                return plan
        return None

    def build(self, progress: Progress) -> Plan:
        self.origin = _BUILT
        return self.build_here(progress) if self.quick else self._build_in_child(progress)

    def find_or_build_here(self, progress: Progress) -> Plan:
        """The plan that came with the app; else `build_here`."""
        shipped = shipped_plan(self._project, self.target, self._settings)
        return shipped or self.build_here(progress)

    def build_here(self, progress: Progress) -> Plan:
        """Build in this process, quick or not; a plan that the cache has is taken from there."""
        project, target, settings = self._project, self.target, self._settings
        inputs = GraphInputs(project, settings, progress)
        graph = obtain_graph(inputs, target.precision, target.scheme, settings, progress)
        return obtain_plan(
            project, target, graph, settings, progress, when_full=keep_in_memory
        ).plan

    def stop(self) -> None:
        self._stopped = True
        if self._child is not None:
            self._child.stop()

    def _build_in_child(self, progress: Progress) -> Plan:
        spare = open_spare()
        try:
            child = ChildBuild(self._job(spare), allowed_bytes(self._settings.build_memory_bytes))
            self._child = child
            if self._stopped:
                child.stop()
            told = child.run(progress)
        except BaseException:
            os.close(spare)
            raise
        if isinstance(told, BuiltInMemory):
            return spare_plan(spare, told.info)
        os.close(spare)
        plan = PlanStore(self._settings.cache_path).get(told.key)
        if plan is None:
            raise PlanBuildFailed(
                f"the plan {told.key} was built, and is gone; another process removed it from "
                f"{self._settings.cache_path}, or cache_max_bytes is too small for two plans"
            )
        return plan

    def _job(self, spare: int) -> Job:
        settings, target = self._settings, self.target
        return Job(
            project=str(self._project.file.path.absolute()),
            stack=target.stack.name,
            rung=target.stack.rungs.index(target.rung),
            device=target.device,
            precision=target.precision,
            settings={name: getattr(settings, name) for name in settings.origin},
            spare=spare,
        )


def open_ladder(project: Project, settings: Settings) -> Steps:
    """The steps that may serve here, by the settings `stack`, `minimum_engine` and `ladder`.

    Where a stack for GPUs finds none, and `minimum_engine` is `auto`, its CPU engine serves without
    counting as ready: people see answers and the reason, and no real work is sent to it.

    Raises:
        StackUnknown: a stack is not in the catalogue.
        StackUnsupported: nothing may serve here.
    """
    shortfall = ""
    try:
        ladder = find_ladder(project, settings, settings.minimum_engine)
    except StackUnsupported:
        if settings.minimum_engine != "auto":
            raise
        ladder = find_ladder(project, settings, "cpu")
        shortfall = below_minimum(ladder)
    targets = ladder.targets if settings.ladder == "on" else ladder.targets[:1]
    steps: list[Step] = [ProjectStep(project, target, settings) for target in targets]
    site = site_step(project, ladder, settings)
    return Steps([site, *steps] if site else steps, ladder.left_out, shortfall)


def ensure_plan(project: Project, settings: Settings, progress: Progress = no_progress) -> Plan:
    """The best plan that is there or can be built here and now, for this process.

    It is chosen as a server chooses it, but a CPU engine always counts: no GPU is promised.

    Raises:
        StackUnknown, StackUnsupported: as `open_ladder`.
        EnginecrateError: why the last rung cannot be built; the others' reasons are logged.
    """
    ladder = find_ladder(project, settings, "cpu")
    site = site_step(project, ladder, settings)
    steps = [ProjectStep(project, target, settings) for target in ladder.targets]
    ways = [(one.target, partial(one.find_or_build_here, progress)) for one in steps]
    if site is not None:
        ways.insert(0, (site.target, partial(site.build, progress)))
    for target, obtain in ways[:-1]:
        try:
            return obtain()
        except EnginecrateError as exc:
            _log.warning("%s: %s; the next lower engine is taken", target, exc)
    return ways[-1][1]()


def find_ladder(project: Project, settings: Settings, minimum: Minimum) -> Ladder:
    """The ladder of a project here. Arguments and errors as `rungs` and `choose_stack`."""
    names = [settings.stack] if settings.stack else project.manifest.targets.stacks
    machine = machine_facts(map(get_stack, names))
    stack = choose_stack(project.manifest, settings.stack, machine)
    return rungs(project.manifest, stack, machine, minimum)
