"""The climber: serves with the best plan at hand, builds better ones, and swaps them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from enginecrate.builder.golden.samples import GoldenSample, load_golden
from enginecrate.builder.ladder.rungs import climb_order
from enginecrate.builder.ladder.steps import Step, Steps, open_ladder
from enginecrate.builder.project.project import Project, open_served_project
from enginecrate.builder.trial.findings import limit_note
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import one_by_one
from enginecrate.errors import BuildError, EnginecrateError, ModelNotReady
from enginecrate.server.logs.events import log_event
from enginecrate.server.model.ladder_status import PROOF, TRIAL, failure_of
from enginecrate.server.model.load import load_plan, log_ready
from enginecrate.server.model.proof import PlanProof, prove_plan
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import Serving
from enginecrate.settings import Settings

__all__ = ["Climber", "MakeSteps"]

_log = logging.getLogger(__name__)

MakeSteps = Callable[[Project, Settings], Steps]
"""Gives the steps of a project's ladder on this machine."""

_CLOSE_SECONDS = 5.0
"""Longest wait for the engines of a plan that was replaced."""

T = TypeVar("T")


class Climber:
    """Loads one model, and then improves it. `climb` runs in a thread of its own."""

    def __init__(
        self,
        model: ServedModel,
        path: Path,
        settings: Settings,
        make_steps: MakeSteps = open_ladder,
    ) -> None:
        """`path`: of the project; `make_steps`: the rungs, by default those of its stack."""
        self._model = model
        self._path = path
        self._settings = settings
        self._make_steps = make_steps
        self._steps: Sequence[Step] = ()
        self._serving: int | None = None
        self._samples: Sequence[GoldenSample] = ()
        self._unproven = ""
        self._error: EnginecrateError | None = None
        page = model.statistics.page
        page.measure("pending", lambda: model.pending)
        page.measure("queue_seconds", lambda: model.estimated_wait_seconds)

    def climb(self) -> None:
        """Serve with the best plan that is at hand; then build the better ones and swap them in.

        Raises:
            ModelNotReady: the server was stopped meanwhile.
            EnginecrateError: the project cannot be used, or nothing can serve. A golden sample
                that fails is no error here: the model's state says so.
        """
        project = open_served_project(self._path, self._settings)
        self._samples = load_golden(project.golden)
        ladder = self._make_steps(project, self._settings)
        self._steps = ladder.steps
        targets = [step.target for step in ladder.steps]
        self._model.ladder.start(targets, ladder.left_out)
        self._model.degrade(ladder.shortfall)
        self._tell_missing_gpu()
        self._start(project)
        for position in climb_order(targets, self._serving):
            if self._serving is None or position < self._serving:
                self._build(project, position)
        self._model.ladder.end()
        if self._serving is None:
            self._give_up()

    def stop(self) -> None:
        """End what is being built; `climb` then ends soon. From any thread."""
        for step in self._steps:
            step.stop()

    def _start(self, project: Project) -> None:
        """Serve with the best plan that is there already; without any, make one quickly."""
        for position, step in enumerate(self._steps):
            plan = self._attempt(position, step.find)
            if plan is not None and self._try(project, position, plan):
                return
        for position, step in enumerate(self._steps):
            if step.quick and self._is_waiting(position) and self._build(project, position):
                return

    def _build(self, project: Project, position: int) -> bool:
        """Build the plan of a step and serve with it. Returns whether it serves."""
        step, model = self._steps[position], self._model
        self._check_stopped()
        if not self._is_waiting(position):
            return False
        name = str(step.target)

        def progress(words: str, done: int, total: int) -> None:
            model.progress(f"build {name}: {words}", done, total)
            model.ladder.progress(position, words, done, total)

        model.ladder.start_build(position)
        log_event(_log, f"building {name}", **self._fields(step))
        plan = self._attempt(position, lambda: step.build(progress))
        if plan is None:
            return False
        seconds = model.ladder.end_build()
        log_event(_log, f"built {name} in {seconds:.1f} s", **self._fields(step),
                  seconds=round(seconds, 3), plan=plan.info.plan_digest)  # fmt: skip
        return self._try(project, position, plan)

    def _try(self, project: Project, position: int, plan: Plan) -> bool:
        """Load a plan, prove it and serve with it. Returns whether it serves."""
        serving = self._attempt(position, lambda: self._load(project, plan))
        if serving is None:
            return False
        try:
            return self._prove(project, position, serving, plan)
        except BaseException:
            serving.close(_CLOSE_SECONDS)
            self._model.forget(serving)
            raise

    def _load(self, project: Project, plan: Plan) -> Serving:
        loaded = load_plan(self._model, project, plan, self._settings)
        return Serving(loaded, self._model.statistics)

    def _prove(self, project: Project, position: int, serving: Serving, plan: Plan) -> bool:
        model, step = self._model, self._steps[position]
        model.ladder.prove(position)
        model.start_proving(serving)
        proof = prove_plan(serving.loaded, project, self._samples)
        self._check_stopped()
        if proof.golden is not None and not proof.golden.passed:
            return self._reject(position, serving, PROOF, model.reject(proof.golden))
        if proof.refusal:
            model.refuse(proof.refusal, proof.trial)
            return self._reject(position, serving, TRIAL, proof.refusal)
        self._limit_batch(serving, plan, proof)
        before = model.accept(proof.golden, proof.trial)
        self._serving = position
        model.ladder.serve(position, serving.loaded.engine.plan, step.origin)
        self._tell_trial(step, serving, proof)
        if before is None:
            log_ready(model, len(self._samples))
        self._tell_serving(step, serving, before)
        if before is not None:
            self._close(before)
        return True

    def _reject(self, position: int, serving: Serving, kind: str, reason: str) -> bool:
        """The candidate never serves."""
        self._unproven = reason
        serving.close(_CLOSE_SECONDS)
        self._failed(position, kind, reason)
        return False

    def _limit_batch(self, serving: Serving, plan: Plan, proof: PlanProof) -> None:
        """Serve one by one where a batch spoils answers; a sidecar in the cache says so."""
        trial = proof.trial
        if trial is None or trial.max_batch >= serving.loaded.signature.max_batch:
            return
        note = next(str(one) for one in trial.findings if one.name == "one-by-one")
        limited = replace(plan, info=msgspec.structs.replace(plan.info, max_batch=1))
        if self._settings.cache_path in plan.path.parents:
            limited = one_by_one(plan, note)
        serving.serve_one_by_one(limited.info, note)

    def _close(self, before: Serving) -> None:
        """Close a replaced engine, once the last request that began with it is answered."""
        before.wait_until_unused(self._settings.request_timeout_seconds + _CLOSE_SECONDS)
        if not before.close(_CLOSE_SECONDS):
            log_event(_log, "an engine that was replaced is still running", level=logging.WARNING,
                      model=self._model.name, plan=before.loaded.engine.plan)  # fmt: skip
        self._model.forget(before)

    def _attempt(self, position: int, call: Callable[[], T]) -> T | None:
        """The call's result; `None` when it fails: then the step has failed, and it is logged."""
        try:
            return call()
        except ModelNotReady:
            raise
        except EnginecrateError as exc:
            self._check_stopped()
            self._error = exc
            self._failed(position, failure_of(exc), str(exc))
        except Exception as exc:
            self._check_stopped()
            step = self._steps[position]
            _log.exception("the rung %s failed", step.target)
            self._error = BuildError(f"{step.target}: {type(exc).__name__}: {exc}")
            self._failed(position, failure_of(exc), str(self._error))
        return None

    def _check_stopped(self) -> None:
        """Raises `ModelNotReady`: a failure while the server stops says nothing."""
        if self._model.is_stopped:
            raise ModelNotReady("the server is stopping")

    def _is_waiting(self, position: int) -> bool:
        return self._model.ladder.is_waiting(position)

    def _give_up(self) -> None:
        """Nothing serves, and nothing is left to try."""
        if self._unproven:
            self._model.fail(self._unproven)
            log_ready(self._model, len(self._samples))
        elif self._error is not None:
            raise self._error
        else:
            raise BuildError("the ladder has no rung that could serve")

    def _failed(self, position: int, kind: str, reason: str) -> None:
        step, serving = self._steps[position], self._serving
        self._model.ladder.fail(position, kind, reason)
        goes_on = f"; {self._steps[serving].target} goes on serving" if serving is not None else ""
        log_event(_log, f"{step.target} cannot serve: {reason}{goes_on}", level=logging.WARNING,
                  **self._fields(step), failure=kind)  # fmt: skip

    def _tell_missing_gpu(self) -> None:
        """Say it when a stack for GPUs has only its CPU engines here, and that is allowed."""
        stack = self._steps[0].target.stack if self._steps else None
        if stack is None or not stack.is_gpu:
            return
        if all(step.target.rung.device == "cpu" for step in self._steps):
            reasons = dict.fromkeys(each.reason for each in self._model.ladder.left_out)
            log_event(_log, f"no GPU engine of {stack.name} can serve here, so the CPU does: "
                      f"{'; '.join(reasons)}", level=logging.WARNING)  # fmt: skip

    def _tell_trial(self, step: Step, serving: Serving, proof: PlanProof) -> None:
        """The trial run and its remarks; the remark of an earlier start that the sidecar keeps."""
        trial, known = proof.trial, limit_note(serving.loaded.info)
        if trial is None:
            return
        words = f"tried in {proof.seconds:.2f} s: {', '.join(trial.facts.samples) or 'nothing'}"
        log_event(_log, words, **self._fields(step), samples=list(trial.facts.samples),
                  batches=list(trial.batches.sizes), seconds=round(proof.seconds, 3))  # fmt: skip
        for words in dict.fromkeys([*map(str, trial.findings), *([known] if known else [])]):
            log_event(_log, words, level=logging.WARNING, **self._fields(step))

    def _tell_serving(self, step: Step, serving: Serving, before: Serving | None) -> None:
        words = f"serving with {step.target}"
        if before is not None:
            words += f", plan {serving.loaded.engine.plan} in place of {before.loaded.engine.plan}"
        if step.origin:
            words += f" ({step.origin})"
        log_event(_log, words, **self._fields(step), plan=serving.loaded.info.plan_digest,
                  origin=step.origin)  # fmt: skip

    def _fields(self, step: Step) -> dict[str, Any]:
        return {"model": self._model.name, "version": self._model.version,
                "rung": str(step.target)}  # fmt: skip
