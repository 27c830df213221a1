"""The queue in front of the engines, with dynamic batching and fair shares.

A request is dispatched at once while an instance is idle: batches form only out of what has
gathered while all of them were busy. `max_queue_delay_seconds` lets a busy server wait a little
for a fuller batch; a lone request to an idle server never waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from enginecrate.engines.base import Engine
from enginecrate.errors import DeviceLost, ModelNotReady
from enginecrate.server.scheduling.batch import Execution, Job, Lease, batch_key
from enginecrate.server.scheduling.client import Client, own_client
from enginecrate.server.scheduling.instances import (
    InstanceGroup,
    lost_words,
    run_jobs,
    translated,
)
from enginecrate.server.scheduling.work_queue import WorkQueue
from enginecrate.values import Tensors

__all__ = ["QUEUE_SECONDS", "BatchScheduler", "Scheduler"]

QUEUE_SECONDS = 2.0
"""Longest wait for an engine, by default; as the setting `queue_seconds`."""


class Scheduler(Protocol):
    """A queue of requests for engines. Every method may be called from any thread."""

    @property
    def depth(self) -> int:
        """Requests that wait."""
        ...

    @property
    def estimated_wait_seconds(self) -> float:
        """How long a request would wait that came now."""
        ...

    def admit(self, samples: int, client: Client | None = None) -> None:
        """Find out whether a request would be taken, before anything is done for it.

        Args:
            samples: of the request.
            client: who sends it; `None`: the server itself.

        Raises:
            QueueFull: what waits takes too long, or the client has its share of it already.
            ModelNotReady: the scheduler is closed.
        """
        ...

    def submit(
        self,
        inputs: Tensors,
        deadline: float | None = None,
        *,
        client: Client | None = None,
        lease: Lease | None = None,
        into: Tensors | None = None,
    ) -> Future[Execution]:
        """Queue a request. Cancelling the future takes it out of the queue.

        Args:
            inputs: what the engine takes, with the batch dimension in front.
            deadline: on the clock of `time.monotonic`; a request is not begun after it.
            client: who sends it: clients share the engines equally. `None`: the server itself.
            lease: of the memory that the inputs lie in: retained until no engine reads it.
            into: C-contiguous arrays for the outputs, which an engine may use.

        Raises:
            QueueFull, ModelNotReady: as `admit`.
        """
        ...

    @property
    def runs_here(self) -> bool:
        """Whether `run_here` would run a request of one sample, most likely."""
        ...

    def run_here(self, inputs: Tensors) -> Execution | None:
        """Run a request in this thread, where the engine is cheaper than a change of threads.

        Args:
            inputs: as `submit`.

        Returns:
            `None` when the engine is not quick, or others wait or run: `submit` it then.

        Raises:
            EngineRunFailed, TensorMismatch, ModelNotReady: as the future of `submit`.
        """
        ...

    def limit_batch(self, max_batch: int) -> None:
        """Form no larger batches than this from now on."""
        ...

    def close(self, timeout: float = 5.0) -> bool:
        """Refuse what waits, let what runs end, close the engines.

        Returns:
            Whether every engine ended in time.
        """
        ...


class BatchScheduler:
    """A `Scheduler` with the engines in this process.

    on_device_lost: called once, from any thread, when the device is lost to this process. What
        waits is refused already; the process should end.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        max_pending: int,
        max_batch: int | None = None,
        queue_seconds: float = QUEUE_SECONDS,
        max_queue_delay_seconds: float = 0.0,
    ) -> None:
        """Start one thread for each engine.

        Args:
            engines: equal ones; they are closed by `close`.
            max_pending: requests that may wait; more are refused.
            max_batch: largest batch; default and upper limit: the engines' own.
            queue_seconds: work that may wait, as the time that it takes; more is refused.
            max_queue_delay_seconds: longest wait of a busy server for a fuller batch.
        """
        self.on_device_lost: Callable[[DeviceLost], None] | None = None
        self._engine = engines[0]
        self._may_run_here = bool(getattr(self._engine, "thread_safe", False))
        own = self._engine.max_batch
        self._work = WorkQueue(
            len(engines),
            max_pending=max_pending,
            max_batch=min(own, max_batch) if max_batch else own,
            queue_seconds=queue_seconds,
            max_queue_delay_seconds=max_queue_delay_seconds,
            on_device_lost=self._lost,
        )
        self._group = InstanceGroup(engines, self._work)

    @property
    def max_batch(self) -> int:
        """Largest batch; 0 when the first dimension is not a batch."""
        return self._work.size.most

    @property
    def depth(self) -> int:
        return len(self._work)

    @property
    def estimated_wait_seconds(self) -> float:
        return self._work.wait_seconds

    def limit_batch(self, max_batch: int) -> None:
        """Form no larger batches than this from now on."""
        self._work.size.limit(max_batch)

    def admit(self, samples: int, client: Client | None = None) -> None:
        self._work.check(client or _SERVER, self._work.cost(samples))

    def submit(
        self,
        inputs: Tensors,
        deadline: float | None = None,
        *,
        client: Client | None = None,
        lease: Lease | None = None,
        into: Tensors | None = None,
    ) -> Future[Execution]:
        work = self._work
        size = self._samples(inputs)
        key = batch_key(inputs) if work.size.most > size else None
        job = Job(inputs, size, key, deadline, client or own_client(), work.cost(size))
        job.future.withdraw = partial(work.withdraw, job)
        job.lease = lease.retain() if lease is not None else None
        job.into = into
        try:
            work.push(job)
        except BaseException:
            job.future.withdraw = None  # a circle
            job.release()
            raise
        return job.future

    @property
    def runs_here(self) -> bool:
        return self._may_run_here and bool(self._work.quick.most)

    def run_here(self, inputs: Tensors) -> Execution | None:
        work = self._work
        if not work.quick.most or not self._may_run_here:
            return None
        size = self._samples(inputs)
        if size > work.quick.most or not work.begin_here():
            return None
        ns = 0
        try:
            while waiting := work.take_here():
                run_jobs(self._engine, waiting, work)
            start = time.perf_counter_ns()
            outputs = self._engine.run(inputs)
            ns = time.perf_counter_ns() - start
        except DeviceLost as exc:
            work.lost(exc)
            raise lost_words(exc) from exc
        except Exception as exc:  # an engine's errors belong to its requests
            raise translated(exc) from exc
        finally:
            work.end_here(ns)
        return Execution(outputs, size, 0, 0, ns, 0)

    def close(self, timeout: float = 5.0) -> bool:
        self._work.close(ModelNotReady("the server is stopping; send the request again"))
        return self._group.join(timeout)

    def _samples(self, inputs: Tensors) -> int:
        return int(next(iter(inputs.values())).shape[0]) if self._work.size.most and inputs else 1

    def _lost(self, error: DeviceLost) -> None:
        if self.on_device_lost is not None:
            self.on_device_lost(error)


_SERVER = Client("", 0)
