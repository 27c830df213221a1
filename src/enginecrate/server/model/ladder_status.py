"""The status of the ladder: the rung that serves, the one that is built, those that failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from enginecrate.builder.plans.targets import NotBuilt, Target
from enginecrate.errors import (
    AccuracyTooLow,
    BuildOutOfMemory,
    CacheUnusable,
    CalibrationInvalid,
    EnginecrateError,
    EvaluationInvalid,
    NotWorthwhile,
    PlanBuildFailed,
    PlanInvalid,
    PlanMismatch,
    TooFewPhotos,
)
from enginecrate.server.statistics.model_statistics import ModelStatistics

__all__ = ["PROOF", "TRIAL", "LadderStatus", "RungState", "RungStatus", "failure_of"]

_KINDS: dict[type[EnginecrateError], str] = {
    BuildOutOfMemory: "memory",
    PlanBuildFailed: "build",
    CalibrationInvalid: "accuracy",
    EvaluationInvalid: "accuracy",
    AccuracyTooLow: "accuracy",
    NotWorthwhile: "accuracy",
    TooFewPhotos: "accuracy",
    PlanMismatch: "load",
    PlanInvalid: "load",
    CacheUnusable: "cache",
}

PROOF = "proof"
"""A golden sample gave another result."""

TRIAL = "trial"
"""An app without golden samples gave errors, or answers that cannot be right."""

_OTHER = "other"


def failure_of(error: Exception) -> str:
    """The reason of a failed rung, as metrics name it."""
    return next((word for kind, word in _KINDS.items() if isinstance(error, kind)), _OTHER)


class RungState(StrEnum):
    """The state of a rung."""

    WAITING = "waiting"
    BUILDING = "building"
    PROVING = "proving"
    SERVING = "serving"
    REPLACED = "replaced"
    FAILED = "failed"
    NOT_NEEDED = "not needed"


@dataclass(frozen=True, slots=True)
class RungStatus:
    """One rung.

    origin: where the plan that serves came from.
    step, done, total: of its build, as a `Progress` has them.
    """

    target: Target
    state: RungState = RungState.WAITING
    reason: str = ""
    plan: str = ""
    origin: str = ""
    step: str = ""
    done: int = 0
    total: int = 0

    @property
    def progress(self) -> float:
        """Share of the step under way, 0..1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def as_dict(self) -> dict[str, Any]:
        target = self.target
        entry: dict[str, Any] = {
            "name": str(target),
            "stack": target.stack.name,
            "backend": target.rung.backend,
            "device": target.device,
            "precision": target.precision,
            "state": self.state,
        }
        if self.plan:
            entry["plan"] = self.plan
        if self.origin:
            entry["origin"] = self.origin
        if self.reason:
            entry["reason"] = self.reason
        if self.state is RungState.BUILDING:
            entry |= {"step": self.step, "progress": round(self.progress, 3)}
        return entry


class LadderStatus:
    """Written by the thread that climbs, read by others: every change is one assignment.

    What it has done since the server started is counted in the model's statistics.
    """

    def __init__(self, statistics: ModelStatistics) -> None:
        self.rungs: tuple[RungStatus, ...] = ()
        self.left_out: tuple[NotBuilt, ...] = ()
        self._statistics = statistics
        self._since = 0.0

    @property
    def building(self) -> RungStatus | None:
        """The rung that is being built."""
        return next((rung for rung in self.rungs if rung.state is RungState.BUILDING), None)

    @property
    def build(self) -> tuple[str, float] | None:
        """The name of the rung that is being built, and its share of the step, 0 to 1."""
        rung = self.building
        return None if rung is None else (str(rung.target), rung.progress)

    @property
    def serving(self) -> int | None:
        """Position of the rung that serves, 0 the best."""
        states = [rung.state for rung in self.rungs]
        return states.index(RungState.SERVING) if RungState.SERVING in states else None

    def is_waiting(self, position: int) -> bool:
        """A rung has neither been tried nor given up."""
        return self.rungs[position].state is RungState.WAITING

    def start(self, targets: Sequence[Target], left_out: Sequence[NotBuilt]) -> None:
        """The rungs are known, best first."""
        self.left_out = tuple(left_out)
        self.rungs = tuple(RungStatus(target) for target in targets)

    def start_build(self, position: int) -> None:
        """A plan is being built."""
        self._since = time.monotonic()
        self._change(position, state=RungState.BUILDING, step="start", done=0, total=0)

    def progress(self, position: int, step: str, done: int, total: int) -> None:
        """The build has come this far."""
        self._change(position, step=step, done=done, total=total)

    def end_build(self) -> float:
        """The plan is built. Returns the seconds that it took."""
        seconds = time.monotonic() - self._since
        self._statistics.built(seconds)
        return seconds

    def prove(self, position: int) -> None:
        """The plan is loaded; its golden samples are being checked."""
        self._change(position, state=RungState.PROVING)

    def serve(self, position: int, plan: str, origin: str = "") -> None:
        """The rung serves from now on, in place of the one that did."""
        before = self.serving
        if before is not None:
            self._statistics.swapped()
        self.rungs = tuple(
            replace(rung, state=RungState.SERVING, plan=plan, origin=origin, reason="")
            if number == position
            else replace(rung, state=RungState.REPLACED)
            if number == before
            else rung
            for number, rung in enumerate(self.rungs)
        )

    def fail(self, position: int, kind: str, reason: str) -> None:
        """The rung cannot serve. `kind`: the reason, as metrics name it."""
        self._statistics.rung_failed(kind)
        self._change(position, state=RungState.FAILED, reason=reason)

    def end(self) -> None:
        """Nothing more is built until the next start."""
        self.rungs = tuple(
            replace(rung, state=RungState.NOT_NEEDED) if rung.state is RungState.WAITING else rung
            for rung in self.rungs
        )

    def summary(self) -> dict[str, Any]:
        """The part that readiness tells."""
        building, serving = self.building, self.serving
        return {
            "rung": None if serving is None else serving + 1,
            "rungs": len(self.rungs),
            "origin": None if serving is None else self.rungs[serving].origin or None,
            "building": building.as_dict() if building else None,
            "failed": [
                {"name": str(rung.target), "reason": rung.reason}
                for rung in self.rungs
                if rung.state is RungState.FAILED
            ],
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything."""
        totals = self._statistics.view.totals().ladder
        return {
            **self.summary(),
            "steps": [rung.as_dict() for rung in self.rungs],
            "left_out": [{"name": each.target, "reason": each.reason} for each in self.left_out],
            "plans_built": totals.built,
            "build_seconds": round(totals.build_seconds, 3),
            "swaps": totals.swaps,
        }

    def _change(self, position: int, **values: Any) -> None:
        self.rungs = tuple(
            replace(rung, **values) if number == position else rung
            for number, rung in enumerate(self.rungs)
        )
