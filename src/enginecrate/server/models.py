"""The served model: what it is, how far it has come, and what it may do now.

loading -> proving -> ready -> closed; `failed` from loading or proving. A model is ready only after
its golden samples gave the expected results; one that has none becomes ready as `unproven`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from enginecrate.build.golden import GoldenReport
from enginecrate.errors import ModelNotReady
from enginecrate.manifest import Manifest
from enginecrate.pipelines.base import Limits, Pipeline
from enginecrate.server.counting import CountedScheduler
from enginecrate.server.scheduler import Scheduler
from enginecrate.server.stats import ModelStatistics
from enginecrate.server.wire import Signature
from enginecrate.values import PlanInfo

__all__ = ["GoldenState", "Loaded", "ServedModel", "State"]


class State(StrEnum):
    """How far a model has come."""

    LOADING = "loading"
    PROVING = "proving"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class GoldenState(StrEnum):
    """What the golden samples have shown."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    UNPROVEN = "unproven"


_NEXT: dict[State, tuple[State, ...]] = {
    State.LOADING: (State.PROVING, State.FAILED, State.CLOSED),
    State.PROVING: (State.READY, State.FAILED, State.CLOSED),
    State.READY: (State.CLOSED,),
    State.FAILED: (State.CLOSED,),
    State.CLOSED: (),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a model consists of once its engines are loaded."""

    pipeline: Pipeline
    scheduler: Scheduler
    info: PlanInfo
    signature: Signature
    labels: Sequence[str]
    instances: int
    limits: Limits


class ServedModel:
    """One model and its state. Thread-safe: a thread loads it while others serve."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.name = manifest.app.name
        self.version = manifest.app.version
        self.statistics = ModelStatistics()
        self.state = State.LOADING
        self.reason = "the model is loading"
        self.golden_state = GoldenState.PENDING
        self.golden: GoldenReport | None = None
        self.load_seconds = 0.0
        self._loaded: Loaded | None = None
        self._counted: CountedScheduler | None = None
        self._started = time.monotonic()
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    @property
    def loaded(self) -> Loaded | None:
        """What is loaded, also while it is being proven; `None` before."""
        return self._loaded

    @property
    def pending(self) -> int:
        """Requests that wait for an engine."""
        return self._loaded.scheduler.depth if self._loaded else 0

    def require(self) -> tuple[Loaded, CountedScheduler]:
        """What requests are answered with.

        Raises:
            ModelNotReady: the message says why.
        """
        loaded, counted = self._loaded, self._counted
        if self.state is not State.READY or loaded is None or counted is None:
            raise ModelNotReady(f"model {self.name!r} is not ready: {self.reason}")
        return loaded, counted

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far loading has come; a `Progress`."""
        if self.state is State.LOADING:
            share = f" ({done} of {total})" if total else ""
            self.reason = f"the model is loading: {step}{share}"

    def start_proving(self, loaded: Loaded) -> None:
        """The engines are loaded; the golden samples come next."""
        with self._lock:
            self._move(State.PROVING, "the golden samples are being checked")
            self._loaded = loaded
            self._counted = CountedScheduler(
                loaded.scheduler, self.statistics, batched=bool(loaded.signature.max_batch)
            )

    def finish_proving(self, report: GoldenReport | None) -> None:
        """Become ready, or failed when a golden sample gave another result.

        Args:
            report: `None` when the app has no golden samples.
        """
        with self._lock:
            self.golden = report
            if report is None:
                self.golden_state = GoldenState.UNPROVEN
            else:
                self.golden_state = GoldenState.PASSED if report.passed else GoldenState.FAILED
            if report is None or report.passed:
                self.load_seconds = time.monotonic() - self._started
                self.statistics.forget_executions()
                self._move(State.READY, "")
            else:
                self._move(State.FAILED, _why(report))

    def fail(self, reason: str) -> None:
        """The model cannot be loaded."""
        with self._lock:
            self._move(State.FAILED, reason)

    def stop(self) -> None:
        """Take no more requests; those that run go on. A second call does nothing."""
        with self._lock:
            if self.state is not State.CLOSED:
                self._move(State.CLOSED, "the server is stopping")

    def close(self, timeout: float) -> bool:
        """Close the engines. Returns whether they ended in time."""
        self.stop()
        return self._loaded.scheduler.close(timeout) if self._loaded else True

    def _move(self, state: State, reason: str) -> None:
        if state not in _NEXT[self.state]:
            if self.state is State.CLOSED:  # stopped while it was still loading
                raise ModelNotReady("the server is stopping")
            raise RuntimeError(f"a model cannot go from {self.state} to {state}")
        self.state, self.reason = state, reason


def _why(report: GoldenReport) -> str:
    wrong = [outcome for outcome in report.outcomes if not outcome.passed]
    shown = "; ".join(f"{outcome.name}: {', '.join(outcome.reasons[:3])}" for outcome in wrong[:3])
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return (
        f"{len(wrong)} of {len(report.outcomes)} golden samples gave another result than the "
        f"expected one: {shown}{more}. Serve the model that the samples were recorded with, or "
        "record them again: enginecrate golden record"
    )
