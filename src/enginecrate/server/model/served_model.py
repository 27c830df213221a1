"""The served model: one app's model, its state, and the plan that serves.

loading -> proving -> ready -> closed; `failed` from loading or proving, and when the device is
lost that the model runs on; `degraded` in place of
ready when its engine answers and does not count (the setting `minimum_engine`). A model is ready
only after its golden samples gave the expected results; one that has none becomes ready as
`unproven`. A rung of the ladder whose samples fail sends it back to loading while other rungs are
left. Once it is ready it stays so: a better plan is proven beside the one that serves, and takes
its place at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from enginecrate.builder.golden.samples import GoldenReport
from enginecrate.builder.trial.findings import TrialFacts
from enginecrate.errors import DeviceLost, ModelNotReady
from enginecrate.manifest import Manifest
from enginecrate.server.model.ladder_status import LadderStatus
from enginecrate.server.model.serving import LoadedModel, Serving
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics

if TYPE_CHECKING:
    from enginecrate.builder.trial.trial import Trial

__all__ = ["GoldenState", "ServedModel", "State"]


class State(StrEnum):
    """The stages of a model, from loading to closed."""

    LOADING = "loading"
    PROVING = "proving"
    READY = "ready"
    DEGRADED = "degraded"
    FAILED = "failed"
    CLOSED = "closed"


class GoldenState(StrEnum):
    """The outcome of the golden samples."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    UNPROVEN = "unproven"


_NEXT: dict[State, tuple[State, ...]] = {
    State.LOADING: (State.PROVING, State.FAILED, State.CLOSED),
    State.PROVING: (State.READY, State.DEGRADED, State.LOADING, State.FAILED, State.CLOSED),
    State.READY: (State.FAILED, State.CLOSED),
    State.DEGRADED: (State.FAILED, State.CLOSED),
    State.FAILED: (State.CLOSED,),
    State.CLOSED: (),
}


class ServedModel:
    """One model and its state. Thread-safe: a thread loads it while others serve.

    front_ends: how many take connections, and how many should; `None` in one process.
    on_device_lost: called, from any thread, when it cannot go on since its device is lost to this
        process.
    """

    def __init__(self, manifest: Manifest, statistics: ModelStatistics | None = None) -> None:
        """Begin to load.

        Args:
            manifest: of the app.
            statistics: of this process, when it is not the only one.
        """
        self.manifest = manifest
        self.name = manifest.app.name
        self.version = manifest.app.version
        self.statistics = statistics or ModelStatistics()
        self.ladder = LadderStatus(self.statistics)
        self.state = State.LOADING
        self.reason = "the model is loading"
        self.golden_state = GoldenState.PENDING
        self.golden: GoldenReport | None = None
        self.trial: TrialFacts | None = None
        self.load_seconds = 0.0
        self.on_device_lost: Callable[[DeviceLost], None] | None = None
        self.is_draining = False
        self.front_ends: tuple[int, int] | None = None
        self._shortfall = ""
        self._candidate: Serving | None = None
        self._serving: Serving | None = None
        self._rejected: LoadedModel | None = None
        self._retired: tuple[Serving, ...] = ()
        self._started = time.monotonic()
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY and not self.is_draining

    @property
    def is_serving(self) -> bool:
        """True when it answers: it is ready, or degraded."""
        return self.state in (State.READY, State.DEGRADED)

    @property
    def is_stopped(self) -> bool:
        return self.state is State.CLOSED

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that serves; else the one that is or was being proven; `None` before that."""
        serving = self._serving or self._candidate
        return serving.loaded if serving else self._rejected

    @property
    def serving(self) -> Serving | None:
        """The one that answers requests."""
        return self._serving

    @property
    def pending(self) -> int:
        """Requests that wait for an engine."""
        return sum(serving.scheduler.depth for serving in self._open())

    @property
    def estimated_wait_seconds(self) -> float:
        """How long a request would wait for an engine that came now."""
        serving = self._serving
        return serving.scheduler.estimated_wait_seconds if serving is not None else 0.0

    def using(self) -> Serving:
        """The `Serving` that answers one request, for `with`: it stays open until the block ends.

        Raises:
            ModelNotReady: the message says why.
        """
        while self.is_serving:
            serving = self._serving
            if serving is not None and serving.take():
                return serving
        raise ModelNotReady(f"model {self.name!r} is not ready: {self.reason}")

    def require(self) -> LoadedModel:
        """The loaded model, as `loaded`.

        Raises:
            ModelNotReady: nothing is; the message says why.
        """
        loaded = self.loaded
        if loaded is None:
            raise ModelNotReady(f"model {self.name!r} is not ready: {self.reason}")
        return loaded

    def degrade(self, shortfall: str) -> None:
        """No engine will count as ready. `shortfall`: why not, and what to do."""
        self._shortfall = shortfall

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far loading has come; a `Progress`."""
        if self.state is State.LOADING:
            share = f" ({done} of {total})" if total else ""
            self.reason = f"the model is loading: {step}{share}"

    def start_proving(self, serving: Serving) -> None:
        """Engines are loaded; their golden samples come next.

        Raises:
            ModelNotReady: the server is stopping.
        """
        with self._lock:
            if not self.is_serving:
                self._move(State.PROVING, "the golden samples are being checked")
            self._candidate = serving

    def accept(self, report: GoldenReport | None, trial: Trial | None = None) -> Serving | None:
        """The candidate, which was being proven, serves from now on.

        Args:
            report: `None` when the app has no golden samples.
            trial: its trial run, or the part of it that is about batches.

        Returns:
            The one that has served before: no request reaches it any more. `close` it once it is
            unused.

        Raises:
            ModelNotReady: the server is stopping.
        """
        with self._lock:
            if self._candidate is None:
                raise RuntimeError("nothing is being proven")
            if not self.is_serving:
                state = State.DEGRADED if self._shortfall else State.READY
                self._move(state, self._shortfall)
                self.load_seconds = time.monotonic() - self._started
            before, self._serving, self._candidate = self._serving, self._candidate, None
            self._serving.go_live()
            self.golden = report
            self.trial = trial.facts if trial is not None else None
            self.golden_state = GoldenState.PASSED if report is not None else GoldenState.UNPROVEN
            if before is not None:
                self._retired = (*self._retired, before)
        if before is not None:
            before.retire()
        return before

    def reject(self, report: GoldenReport) -> str:
        """The candidate gave other results than the golden samples: it never serves.

        Returns:
            The reason in words.
        """
        reason = _explain(report)
        self._turn_down(reason, GoldenState.FAILED, report, None)
        return reason

    def refuse(self, reason: str, trial: Trial | None) -> None:
        """The candidate cannot be right, though there is no golden sample: it never serves.

        Args:
            reason: why, in words.
            trial: its trial run.
        """
        self._turn_down(reason, GoldenState.UNPROVEN, None, trial.facts if trial else None)

    def _turn_down(
        self,
        reason: str,
        state: GoldenState,
        report: GoldenReport | None,
        trial: TrialFacts | None,
    ) -> None:
        with self._lock:
            candidate, self._candidate = self._candidate, None
            if self.state is State.PROVING:
                self._rejected = candidate.loaded if candidate else None
                self.golden, self.golden_state, self.trial = report, state, trial
                self._move(State.LOADING, f"the model is loading; {reason}")

    def forget(self, serving: Serving) -> None:
        """A `Serving` that was replaced, or could not be proven, is closed."""
        with self._lock:
            self._retired = tuple(each for each in self._retired if each is not serving)
            if self._candidate is serving:
                self._candidate = None

    def follow(
        self, state: State, reason: str, golden: GoldenState, serving: Serving | None
    ) -> Serving | None:
        """Take over the state that the model has in another process.

        Args:
            state: there.
            reason: of the state.
            golden: the outcome of the golden samples there.
            serving: that answers from now on; `None`: none does.

        Returns:
            The one that has answered before, if it is another one: no request reaches it any more.
        """
        with self._lock:
            if self.state is State.CLOSED:
                return None
            before, self._serving = self._serving, serving
            self.state, self.reason, self.golden_state = state, reason, golden
            if before is serving or before is None:
                return None
            self._retired = (*self._retired, before)
        before.retire()
        return before

    def show(self, loaded: LoadedModel) -> None:
        """Show a plan that another process has turned down; it never serves."""
        self._rejected = loaded

    def fail(self, reason: str) -> None:
        """The model cannot be served."""
        with self._lock:
            self._move(State.FAILED, reason)

    def lose(self, scheduler: Scheduler, error: DeviceLost) -> None:
        """The device of a scheduler is lost: that ends the model if the scheduler serves.

        A candidate that is lost fails its proof; what serves goes on.
        """
        serving = self._serving
        if serving is None or serving.loaded.scheduler is not scheduler:
            return
        with contextlib.suppress(ModelNotReady):
            self.fail(f"the device that it runs on is lost: {error}")
        if self.on_device_lost is not None:
            self.on_device_lost(error)

    def drain(self) -> None:
        """Be ready no more, since the server will stop; requests are answered as before."""
        with self._lock:
            self.is_draining = True
            if self.state is State.READY:
                self.reason = "the server is stopping"

    def stop(self) -> None:
        """Take no more requests; those that run go on. A second call does nothing."""
        with self._lock:
            if self.state is not State.CLOSED:
                self._move(State.CLOSED, "the server is stopping")

    def close(self, timeout: float) -> bool:
        """Close the engines. Returns whether they ended in time."""
        self.stop()
        until = time.monotonic() + timeout
        ended = [each.close(max(0.0, until - time.monotonic())) for each in self._open()]
        return all(ended)

    def _open(self) -> tuple[Serving, ...]:
        with self._lock:
            servings = (*self._retired, self._serving, self._candidate)
        return tuple(serving for serving in servings if serving is not None)

    def _move(self, state: State, reason: str) -> None:
        if state not in _NEXT[self.state]:
            if self.state is State.CLOSED:  # stopped while it was still loading
                raise ModelNotReady("the server is stopping")
            raise RuntimeError(f"a model cannot go from {self.state} to {state}")
        self.state, self.reason = state, reason


def _explain(report: GoldenReport) -> str:
    """The failed golden samples in words, and what to do."""
    wrong = [outcome for outcome in report.outcomes if not outcome.passed]
    shown = "; ".join(f"{outcome.name}: {', '.join(outcome.reasons[:3])}" for outcome in wrong[:3])
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return (
        f"{len(wrong)} of {len(report.outcomes)} golden samples gave another result than the "
        f"expected one: {shown}{more}. Serve the model that the samples were recorded with, or "
        "record them again: enginecrate golden record"
    )
