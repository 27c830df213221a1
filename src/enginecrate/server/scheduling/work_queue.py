"""The work of several instances: what waits, who is idle, and how long it all takes."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from enginecrate.errors import DeviceLost, ModelNotReady
from enginecrate.server.scheduling.batch import Job, take_batch
from enginecrate.server.scheduling.batch_size import BatchSize
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.costs import RunCosts
from enginecrate.server.scheduling.fair_queue import FairQueue
from enginecrate.server.scheduling.instances import lost_words
from enginecrate.server.scheduling.quick_runs import QuickRuns

__all__ = ["WorkQueue"]


class WorkQueue:
    """The queue in front of instances, which are threads. Thread-safe."""

    def __init__(
        self,
        instances: int,
        *,
        max_pending: int,
        max_batch: int,
        queue_seconds: float,
        max_queue_delay_seconds: float,
        on_device_lost: Callable[[DeviceLost], None],
    ) -> None:
        self.size = BatchSize(max_batch)
        self.costs = RunCosts()
        self.quick = QuickRuns()
        self._instances = instances
        self._delay_ns = int(max_queue_delay_seconds * 1e9)
        self._on_device_lost = on_device_lost
        self._queue: FairQueue[Job] = FairQueue(max_pending, queue_seconds * instances)
        self._lock = threading.Lock()
        self._idle = 0
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()  # half the cost of a Condition
        self._closed = ""
        self._running = 0
        self._runs_here = False
        self._ends: dict[int, float] = {}
        self._last_end_ns = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def wait_seconds(self) -> float:
        """How long a request would wait that came now."""
        if self._running < self._instances and not len(self._queue):
            return 0.0
        now = time.monotonic()
        with self._lock:
            running = sum(max(0.0, end - now) for end in self._ends.values())
            return (self._queue.cost + running) / self._instances

    def cost(self, samples: int) -> float:
        """Seconds of an engine that a request needs while batches are full."""
        return self.costs.share(samples, self.size.now())

    def check(self, client: Client, cost: float) -> None:
        """Raises `QueueFull` or `ModelNotReady` when such a request would not be taken."""
        with self._lock:
            self._check_open()
            self._queue.check(client, cost, spare=self._instances - self._running)

    def push(self, job: Job) -> None:
        """Let a job wait. Raises as `check`."""
        with self._lock:
            self._check_open()
            self._queue.push(job, job.client, job.cost, spare=self._instances - self._running)
            self._wake(1)

    def withdraw(self, job: Job) -> None:
        """A job was cancelled: it waits no more."""
        with self._lock:
            waited = self._queue.remove(job, job.client)
        if waited:
            job.begin()  # tells those who wait for it

    def close(self, error: Exception) -> bool:
        """Take nothing any more, and fail what waits; `False`: it was closed already."""
        with self._lock:
            was_open = not self._closed
            self._closed = str(error)
            left = self._queue.clear()
            self._wake(self._idle)
        for job in left:
            job.fail(error)
        return was_open

    # -- runs in the caller's thread --------------------------------------------------------------

    def begin_here(self) -> bool:
        """The only engine at work may be that of the caller; `False`: another one works.

        What waits, if that is no more than a quick run, is the caller's to run before its own
        request (`take_here`), so that nobody waits longer.
        """
        if self._running or not self._lock.acquire(blocking=False):
            return False
        try:
            waiting = len(self._queue)
            if self._running or self._runs_here or self._closed or waiting > self.quick.most:
                return False
            if waiting and self._delay_ns:  # for a fuller batch
                return False
            if sum(job.size for job in self._queue) > self.quick.most:
                return False
            self._runs_here = True
        finally:
            self._lock.release()
        return True

    def take_here(self) -> list[Job]:
        """A batch of what waits, for the caller of `begin_here`; empty when nothing does."""
        with self._lock:
            waiting = len(self._queue)
            return take_batch(self._queue, waiting, self.quick.most) if waiting else []

    def end_here(self, ns: int) -> None:
        """The run in the caller's thread is over."""
        self._runs_here = False
        self.quick.observe(ns)

    # -- for instances ----------------------------------------------------------------------------

    def take(self) -> list[Job] | None:
        """The next batch, for an instance that has nothing to do; `None` when closed."""
        while True:
            with self._lock:
                if self._closed:
                    return None
                wait = self._wait_seconds()
                if wait == 0:
                    limit = self.costs.efficient(self.size.now())
                    jobs = take_batch(self._queue, self._share(), limit)
                    self._running += 1
                    samples = sum(job.size for job in jobs)
                    end = time.monotonic() + self.costs.seconds(samples)
                    self._ends[threading.get_ident()] = end
                    return jobs
                self._idle += 1
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=wait)
            with self._lock:
                self._idle -= 1

    def done(self) -> None:
        """An instance is free."""
        with self._lock:
            self._running -= 1
            self._ends.pop(threading.get_ident(), None)
            self._last_end_ns = time.perf_counter_ns()

    def ran(self, samples: int, ns: int) -> None:
        """A run in an instance's thread has taken this long."""
        self.costs.observe(samples, ns / 1e9)
        self.quick.observe_elsewhere(samples, ns)

    def shed(self, samples: int, error: Exception) -> None:
        """A batch of this size did not fit into memory."""
        self.size.shed(samples, error)

    def lost(self, error: DeviceLost) -> None:
        """Nothing can run any more."""
        if self.close(lost_words(error)):
            self._on_device_lost(error)

    # -- with the lock held -----------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ModelNotReady(self._closed)

    def _wake(self, count: int) -> None:
        """Let idle instances look again."""
        for _ in range(min(count, self._idle)):
            self._wakes.put(None)

    def _wait_seconds(self) -> float | None:
        """Seconds that an idle instance should wait for more; `None`: until a request comes."""
        if not len(self._queue):
            return None
        if not self._delay_ns:
            return 0.0
        head = self._queue.head()
        if head is None or head.key is None or self._is_full(head):
            return 0.0
        now = time.perf_counter_ns()
        busy_until = now if self._running else self._last_end_ns
        return max(0, min(head.enqueued_ns, busy_until) + self._delay_ns - now) / 1e9

    def _is_full(self, head: Job) -> bool:
        return sum(job.size for job in self._queue if job.key == head.key) >= self.size.now()

    def _share(self) -> int:
        """Requests for the next batch: what waits is parted among the instances that are idle."""
        if self._delay_ns:
            return len(self._queue)
        return -(-len(self._queue) // (self._instances - self._running))
