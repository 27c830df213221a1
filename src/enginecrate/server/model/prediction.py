"""The prediction for one payload: decoded by a worker, computed by an engine, finished by a worker.

The threads hand it on to each other directly, and the event loop is woken once, at the end: on a
small machine each wake-up costs about a tenth of a millisecond.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass
from functools import partial

from enginecrate.errors import QueueFull
from enginecrate.pipelines.base import Prepared, Result
from enginecrate.server.http.workers import Workers
from enginecrate.server.model.serving import LoadedModel
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.server.scheduling.statistics import ModelStatistics

__all__ = ["Prediction", "PredictionResult"]


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """A result, and the time that each step took."""

    result: Result
    execution: Execution
    decode_ns: int
    finish_ns: int


class Prediction:
    """Starts at once. `future` raises what the pipeline, the scheduler and the engine raise."""

    def __init__(
        self,
        loaded: LoadedModel,
        scheduler: Scheduler,
        workers: Workers,
        statistics: ModelStatistics,
        payload: bytes,
    ) -> None:
        self.future: Future[PredictionResult] = Future()
        self._pipeline = loaded.pipeline
        self._scheduler = scheduler
        self._workers = workers
        self._statistics = statistics
        self._computing: Future[Execution] | None = None
        try:
            workers.post(partial(self._prepare, payload))
        except QueueFull:
            statistics.failed("REJECTED")
            raise

    def cancel(self) -> None:
        """Stop before the next step; the result is not needed any more."""
        self.future.cancel()
        if self._computing is not None:
            self._computing.cancel()

    def _prepare(self, payload: bytes) -> None:
        if self._is_cancelled():
            return
        start = time.perf_counter_ns()
        try:
            prepared = self._pipeline.prepare(payload)
        except BaseException as exc:
            self._statistics.failed("OTHER")
            self._fail(exc)
            return
        decode_ns = time.perf_counter_ns() - start
        if self._is_cancelled():
            return
        try:
            computing = self._scheduler.submit(prepared.tensors)
        except BaseException as exc:
            self._fail(exc)
            return
        self._computing = computing
        if self.future.cancelled():
            computing.cancel()
        computing.add_done_callback(lambda done: self._computed(done, prepared, decode_ns))

    def _is_cancelled(self) -> bool:
        if self.future.cancelled():
            self._statistics.failed("CANCELED")
            return True
        return False

    def _computed(self, done: Future[Execution], prepared: Prepared, decode_ns: int) -> None:
        """Runs in the engine's thread: only hands on."""
        self._computing = None
        try:
            execution = done.result()
        except CancelledError:
            return
        except BaseException as exc:
            self._fail(exc)
            return
        self._workers.post_first(partial(self._finish, execution, prepared, decode_ns))

    def _finish(self, execution: Execution, prepared: Prepared, decode_ns: int) -> None:
        start = time.perf_counter_ns()
        try:
            result = self._pipeline.finish(execution.outputs, prepared.context)
        except BaseException as exc:
            self._fail(exc)
            return
        finish_ns = time.perf_counter_ns() - start
        with contextlib.suppress(InvalidStateError):  # cancelled
            self.future.set_result(PredictionResult(result, execution, decode_ns, finish_ns))

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)
