"""The queue in front of the engines, with dynamic batching.

A request is dispatched at once while an instance is idle: batches form only out of what has
gathered while all of them were busy. `max_queue_delay_seconds` lets a busy server wait a little
for a fuller batch; a lone request to an idle server never waits.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from enginecrate.engines.base import Engine
from enginecrate.errors import ModelNotReady, QueueFull
from enginecrate.server.scheduling.batch import Execution, Job, batch_key, take_batch
from enginecrate.server.scheduling.instances import InstanceGroup
from enginecrate.values import Tensors

__all__ = ["BatchScheduler", "Scheduler"]


class Scheduler(Protocol):
    """A queue of requests for engines. Every method may be called from any thread."""

    @property
    def depth(self) -> int:
        """Requests that wait."""
        ...

    def submit(self, inputs: Tensors, deadline: float | None = None) -> Future[Execution]:
        """Queue a request. Cancelling the future takes it out of the queue.

        Args:
            inputs: what the engine takes, with the batch dimension in front.
            deadline: on the clock of `time.monotonic`; a request is not begun after it.

        Raises:
            QueueFull: too many requests wait already.
            ModelNotReady: the scheduler is closed.
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
    """A `Scheduler` with the engines in this process."""

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        max_pending: int,
        max_batch: int | None = None,
        max_queue_delay_seconds: float = 0.0,
    ) -> None:
        """Start one thread for each engine.

        Args:
            engines: equal ones; they are closed by `close`.
            max_pending: requests that may wait; more are refused.
            max_batch: largest batch; default and upper limit: the engines' own.
            max_queue_delay_seconds: longest wait of a busy server for a fuller batch.
        """
        own = engines[0].max_batch
        self.max_batch = min(own, max_batch) if max_batch else own
        self._max_pending = max_pending
        self._delay_ns = int(max_queue_delay_seconds * 1e9)
        self._queue: deque[Job] = deque()
        self._lock = threading.Lock()
        self._idle = 0
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # half the cost of a Condition
        self._closed = False
        self._instances = len(engines)
        self._running = 0
        self._last_end_ns = 0
        self._group = InstanceGroup(engines, self._take, self._done)

    @property
    def depth(self) -> int:
        return len(self._queue)

    def limit_batch(self, max_batch: int) -> None:
        """Form no larger batches than this from now on."""
        self.max_batch = min(self.max_batch, max_batch)

    def submit(self, inputs: Tensors, deadline: float | None = None) -> Future[Execution]:
        size = next(iter(inputs.values())).shape[0] if self.max_batch and inputs else 1
        key = batch_key(inputs) if self.max_batch > size else None
        job = Job(inputs, size, key, deadline)
        with self._lock:
            if self._closed:
                raise ModelNotReady("the server is stopping; send the request again")
            if self._is_crowded():
                self._forget_cancelled()
            if self._is_crowded():
                raise QueueFull(
                    f"{self._max_pending} requests wait already (setting max_pending); "
                    "try again after a moment"
                )
            self._queue.append(job)
            self._wake(1)
        return job.future

    def close(self, timeout: float = 5.0) -> bool:
        with self._lock:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            self._wake(self._idle)
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(
                    ModelNotReady("the server is stopping; send the request again")
                )
        return self._group.join(timeout)

    def _take(self) -> list[Job] | None:
        """The next batch, for an instance that has nothing to do; `None` when closed."""
        while True:
            with self._lock:
                if self._closed:
                    return None
                wait = self._wait_seconds()
                if wait == 0:
                    jobs = take_batch(self._queue, self._share(), self.max_batch)
                    self._running += 1
                    return jobs
                self._idle += 1
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=wait)
            with self._lock:
                self._idle -= 1

    def _wake(self, count: int) -> None:
        """Let idle instances look again. Called with the lock held."""
        for _ in range(min(count, self._idle)):
            self._wakes.put(None)

    def _done(self) -> None:
        with self._lock:
            self._running -= 1
            self._last_end_ns = time.perf_counter_ns()

    def _wait_seconds(self) -> float | None:
        """Seconds that an idle instance should wait for more; `None`: until a request comes."""
        while self._queue and self._queue[0].future.cancelled():
            self._queue.popleft()
        if not self._queue:
            return None
        head = self._queue[0]
        if not self._delay_ns or head.key is None or self._is_full(head):
            return 0.0
        now = time.perf_counter_ns()
        busy_until = now if self._running else self._last_end_ns
        return max(0, min(head.enqueued_ns, busy_until) + self._delay_ns - now) / 1e9

    def _is_full(self, head: Job) -> bool:
        return sum(job.size for job in self._queue if job.key == head.key) >= self.max_batch

    def _share(self) -> int:
        """Requests for the next batch: what waits is parted among the instances that are idle."""
        if self._delay_ns:
            return len(self._queue)
        return -(-len(self._queue) // (self._instances - self._running))

    def _is_crowded(self) -> bool:
        """True when too many wait; requests that an idle instance is about to take do not count."""
        return len(self._queue) - (self._instances - self._running) >= self._max_pending

    def _forget_cancelled(self) -> None:
        self._queue = deque(job for job in self._queue if not job.future.cancelled())
