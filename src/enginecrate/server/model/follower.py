"""The model of a front end, which follows the engine process's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

from enginecrate.builder.golden.samples import GoldenOutcome, GoldenReport
from enginecrate.manifest import Manifest
from enginecrate.pipelines.base import Limits, Pipeline
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.server.inference_protocol.request import Signature
from enginecrate.server.logs.events import log_event
from enginecrate.server.model.followed_ladder import FollowedLadder
from enginecrate.server.model.served_model import GoldenState, ServedModel, State
from enginecrate.server.model.serving import LoadedModel, Serving, engine_name
from enginecrate.server.model.snapshot import ModelSnapshot, PlanFacts
from enginecrate.server.scheduling.scheduler import Scheduler

__all__ = ["Follower"]

_CLOSE_SECONDS = 5.0

_log = logging.getLogger(__name__)

Prove = Callable[[LoadedModel], None]
"""Sends something through a plan and back; raises what goes wrong."""


class Follower:
    """Brings a front end's model to the state that the engine process tells, in the loop's thread.

    A plan serves here once it was proven from here: its pipeline is this process's own.
    """

    def __init__(
        self, model: ServedModel, root: Path, limits: Limits, prove: Prove, patience: float
    ) -> None:
        """Nothing is known yet.

        Args:
            model: of this process.
            root: the project's folder.
            limits: of one sample.
            prove: called in a thread for each new plan.
            patience: seconds after which a request to a replaced plan is not waited for.
        """
        self._model = model
        self._root = root
        self._limits = limits
        self._prove = prove
        self._patience = patience
        self._pipelines: dict[tuple[str, ...], Pipeline] = {}
        self._serving: Serving | None = None
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, told: ModelSnapshot, scheduler: Callable[[PlanFacts], Scheduler]) -> None:
        """Take a new state over. A plan that is new serves a little later.

        Args:
            told: by the engine process.
            scheduler: makes the way to a plan.
        """
        model = self._model
        model.ladder = FollowedLadder(model.statistics, told)
        model.load_seconds = told.load_seconds
        model.trial = told.trial
        model.golden = _report(told)
        plan = told.plan if told.serves else None
        if plan is None or plan.number == self._number:
            self._take_over(told, self._serving if plan is not None else None)
            if told.state == State.FAILED and told.plan is not None:
                self._run(self._show(told.plan, scheduler(told.plan)))
        else:
            self._number = plan.number
            self._run(self._serve(told, plan, scheduler(plan)))

    @property
    def is_proving(self) -> bool:
        """True while a plan that serves in the engine process is being proven from here."""
        return self._number != 0 and self._serving is None and self._model.state is State.PROVING

    def lose(self) -> None:
        """The engine process is gone."""
        self._number = 0
        before, self._serving = self._serving, None
        if not self._model.is_stopped:
            self._model.follow(
                State.LOADING,
                "the engine has ended and is started again",
                self._model.golden_state,
                None,
            )
        if before is not None:
            self._model.forget(before)

    async def _serve(self, told: ModelSnapshot, plan: PlanFacts, scheduler: Scheduler) -> None:
        """Prove a plan from here, and serve with it."""
        try:
            # A vendor's class may take its time, and this process answers meanwhile.
            loaded = await asyncio.to_thread(self._load, plan, scheduler)
            await asyncio.to_thread(self._prove, loaded)
        except Exception as exc:
            if self._number == plan.number:  # else the engine process is gone, or has a newer one
                _log.error("plan %d cannot be used here: %s", plan.number, exc)
                self._model.follow(
                    State.FAILED,
                    f"a front end cannot use the plan: {exc}",
                    GoldenState.FAILED,
                    None,
                )
            return
        if self._number != plan.number:
            return
        serving = Serving(loaded, self._model.statistics)
        serving.go_live()
        self._serving = serving
        log_event(_log, "a plan serves", level=logging.DEBUG, plan=loaded.engine.plan)
        self._take_over(told, serving)

    async def _show(self, plan: PlanFacts, scheduler: Scheduler) -> None:
        """Show a plan that the engine process has turned down to whoever looks into it."""
        try:
            self._model.show(await asyncio.to_thread(self._load, plan, scheduler))
        except Exception as exc:  # there is nothing to show
            _log.debug("the plan that was turned down cannot be shown: %s", exc)

    def _take_over(self, told: ModelSnapshot, serving: Serving | None) -> None:
        state, reason = State(told.state), told.reason
        if state is State.CLOSED:  # this process is told by itself when to end
            state, reason = State.LOADING, "the engine is stopping"
        elif told.serves and serving is None:
            state, reason = State.PROVING, "the plan is being proven from a front end"
        before = self._model.follow(state, reason, GoldenState(told.golden_state), serving)
        if before is not None:
            self._run(self._close(before))

    async def _close(self, before: Serving) -> None:
        """Give a replaced plan up, once the last request that began with it is answered."""
        await asyncio.to_thread(before.wait_until_unused, self._patience + _CLOSE_SECONDS)
        before.close(_CLOSE_SECONDS)
        self._model.forget(before)

    def _load(self, plan: PlanFacts, scheduler: Scheduler) -> LoadedModel:
        info = plan.info
        return LoadedModel(
            pipeline=self._pipeline(self._model.manifest, plan),
            scheduler=scheduler,
            info=info,
            signature=Signature(info.inputs, info.outputs, plan.max_batch),
            labels=plan.labels,
            instances=plan.instances,
            limits=self._limits,
            engine=engine_name(info),
            one_by_one=plan.one_by_one,
        )

    def _pipeline(self, manifest: Manifest, plan: PlanFacts) -> Pipeline:
        key = tuple(map(str, (*plan.info.inputs, "", *plan.info.outputs)))
        if key not in self._pipelines:
            self._pipelines[key] = create_pipeline(
                manifest.pipeline, plan.info.inputs, plan.info.outputs, plan.labels, self._root,
                self._limits,
            )  # fmt: skip
        return self._pipelines[key]

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _report(told: ModelSnapshot) -> GoldenReport | None:
    if told.golden is None:
        return None
    outcomes = tuple(GoldenOutcome(each.name, each.passed, each.reasons) for each in told.golden)
    return GoldenReport(all(each.passed for each in outcomes) and bool(outcomes), outcomes)
