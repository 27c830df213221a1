"""The prediction for one payload: decoded by a worker, computed by an engine, finished by a worker.

The threads hand it on to each other directly, and the event loop is woken once, at the end: on a
small machine each wake-up costs about a tenth of a millisecond. Where the engine is quick, one
worker does it all.

Photos wait as they were sent, in front of the workers. They are decoded when an engine will soon
be free: a quarter of a second is kept ready, or two batches for each instance if that is less.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass
from functools import partial

from enginecrate.errors import ImageTooCostly, QueueFull
from enginecrate.pipelines.base import Prepared, Result
from enginecrate.server.decoding.decoding import DecodeJob, Decoding
from enginecrate.server.http.workers import Withdraw
from enginecrate.server.model.photo_costs import PhotoCosts
from enginecrate.server.model.serving import LoadedModel, Serving
from enginecrate.server.scheduling.batch import Execution, Lease
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics

__all__ = ["Prediction", "PredictionResult", "Predictor"]


_READY_SECONDS = 0.25
"""Work that is kept ready for the engines, as the time that it takes."""


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """A result, and the time that each step took."""

    result: Result
    execution: Execution
    decode_ns: int
    finish_ns: int


class Predictor:
    """Starts predictions, and knows how long they will wait."""

    def __init__(self, decoding: Decoding, statistics: ModelStatistics) -> None:
        self.decoding = decoding
        self.workers = decoding.workers
        self.statistics = statistics
        self.costs = PhotoCosts()

    def admit(self, serving: Serving, client: Client | None) -> None:
        """Find out whether a photo would be taken, before its body is read.

        Raises:
            QueueFull: what waits takes too long, or the client has its share of it already.
        """
        ahead = serving.scheduler.estimated_wait_seconds * self.workers.threads
        try:
            self.workers.check(client, self.cost(serving.loaded), ahead=ahead)
        except QueueFull:
            self.statistics.failed("REJECTED")
            raise
        serving.scheduler.admit(1, client)

    def start(
        self,
        serving: Serving,
        payload: bytes,
        client: Client | None,
        lease: Lease | None,
        *,
        is_patient: bool = False,
    ) -> Prediction:
        """Start with a photo.

        Args:
            serving: stays open until the prediction's future is done.
            payload: as sent.
            client: who sends it.
            lease: of the memory that the payload lies in.
            is_patient: a full queue is no refusal, since it is asked again.

        Raises:
            QueueFull: as `admit`.
            ImageTooCostly: decoding it takes more memory than there is.
        """
        try:
            return Prediction(self, serving, payload, client, lease)
        except (QueueFull, ImageTooCostly) as exc:
            if not (is_patient and isinstance(exc, QueueFull)):
                self.statistics.failed("REJECTED")
            raise

    def cost(self, loaded: LoadedModel) -> float:
        """Seconds of a worker for one photo; it counts the engine where that is what takes time."""
        threads = self.workers.threads
        return self.costs.seconds(threads, loaded.instances) * threads


class Prediction:
    """Starts at once. `future` raises what the pipeline, the scheduler and the engine raise."""

    def __init__(
        self,
        predictor: Predictor,
        serving: Serving,
        payload: bytes,
        client: Client | None,
        lease: Lease | None,
    ) -> None:
        self.future: Future[PredictionResult] = Future()
        self._workers = predictor.workers
        self._statistics = predictor.statistics
        self._costs = predictor.costs
        self._loaded = serving.loaded
        self._scheduler: Scheduler = serving.scheduler
        self._client = client
        self._lease = lease.retain() if lease is not None else None
        self._computing: Future[Execution] | None = None
        self._withdraw: Withdraw | None = None
        self._job: DecodeJob | None = None
        try:
            loaded = serving.loaded
            self._job = predictor.decoding.job(loaded.pipeline, payload, loaded.limits)
            self._withdraw = self._job.post(
                partial(self._prepare, self._job),
                client=client,
                cost=predictor.cost(loaded),
                gate=self._has_room,
            )
        except (QueueFull, ImageTooCostly):
            self._release()
            raise

    def cancel(self) -> None:
        """Stop before the next step; the result is not needed any more."""
        self.future.cancel()
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None and withdraw():
            self._is_cancelled()
            self._release()
        if self._job is not None:
            self._job.cancel()
        if self._computing is not None:
            self._computing.cancel()

    def _has_room(self) -> bool:
        """True when the engines will soon have a use for a prepared photo."""
        if self.future.cancelled():
            return True
        loaded, depth = self._loaded, self._scheduler.depth
        if depth >= 2 * loaded.instances * max(1, loaded.signature.max_batch):
            return False
        if depth <= loaded.instances:
            return True
        ready = depth * self._costs.engine_seconds / loaded.instances
        return max(ready, self._scheduler.estimated_wait_seconds) < _READY_SECONDS

    def _prepare(self, job: DecodeJob) -> None:
        self._withdraw = None
        try:
            if self._is_cancelled():
                return
            start = time.perf_counter_ns()
            if not job.is_costly:
                self._costs.begin(others_wait=self._workers.waiting > 0)
            prepared = job.prepare()
            decode_ns = time.perf_counter_ns() - start
        except BaseException as exc:
            if not self._is_cancelled():
                self._statistics.failed("OTHER")
            self._fail(exc)
            return
        finally:
            self._release()
        if not job.is_costly:
            self._costs.decoded(decode_ns)
        if self._is_cancelled():
            return
        try:
            execution = self._scheduler.run_here(prepared.tensors)
            if execution is not None:
                self._finish(execution, prepared, decode_ns)
                return
            computing = self._scheduler.submit(prepared.tensors, client=self._client)
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
        self._costs.computed(execution.compute_ns // execution.batch)
        start = time.perf_counter_ns()
        try:
            result = self._loaded.pipeline.finish(execution.outputs, prepared.context)
        except BaseException as exc:
            self._fail(exc)
            return
        finally:
            execution.let_go()  # a request may wait for many more photos
        finish_ns = time.perf_counter_ns() - start
        with contextlib.suppress(InvalidStateError):  # cancelled
            self.future.set_result(PredictionResult(result, execution, decode_ns, finish_ns))

    def _fail(self, error: BaseException) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()
