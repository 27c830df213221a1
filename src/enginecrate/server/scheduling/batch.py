"""A batch: requests taken out of the queue up to the batch limit, merged, and parted again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from enginecrate.server.scheduling.client import Client, own_client
from enginecrate.server.scheduling.fair_queue import FairQueue
from enginecrate.values import Tensors

__all__ = [
    "BatchKey",
    "Execution",
    "Job",
    "Lease",
    "PendingExecution",
    "batch_key",
    "merge",
    "split",
    "take_batch",
]

BatchKey = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, dtype and shape without the batch dimension of every input, sorted by name."""


class Lease(Protocol):
    """Memory that tensors lie in; the last release frees it."""

    def retain(self) -> Self: ...
    def release(self) -> None: ...


@dataclass(slots=True)
class Execution:
    """The outputs of one request, and how long each step took.

    batch: samples of the whole batch that it ran in.
    *_ns: waiting in the queue, merging inputs, the engine's run, parting outputs.
    lease: of the memory that the outputs lie in; whoever takes the execution releases it.
    """

    outputs: Tensors
    batch: int
    queue_ns: int
    input_ns: int
    compute_ns: int
    output_ns: int
    lease: Lease | None = None

    def let_go(self) -> None:
        """Keep the times only: the outputs were read."""
        self.outputs = {}
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release()


class PendingExecution(Future[Execution]):
    """The execution of a job that waits or runs. Cancelling takes it out of the queue."""

    withdraw: Callable[[], None] | None = None

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        withdraw, self.withdraw = self.withdraw, None
        if withdraw is not None:
            withdraw()
        return True


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way to an engine.

    size: samples, 1 when the first dimension is not a batch.
    key: requests of equal keys may be merged; `None` is merged with nothing.
    deadline: on the clock of `time.monotonic`; a job is not begun after it.
    cost: estimated seconds of an engine.
    lease: of the memory that the inputs lie in; released once no engine reads it any more.
    into: arrays for its outputs, which an engine may use.
    """

    inputs: Tensors
    size: int
    key: BatchKey | None
    deadline: float | None
    client: Client = field(default_factory=own_client)
    cost: float = 0.0
    lease: Lease | None = None
    into: Tensors | None = None
    future: PendingExecution = field(default_factory=PendingExecution)
    enqueued_ns: int = field(default_factory=time.perf_counter_ns)

    def begin(self) -> bool:
        """Start the job; `False` when its client has gone. It can be cancelled no more."""
        self.future.withdraw = None
        if self.future.set_running_or_notify_cancel():
            return True
        self.release()
        return False

    def fail(self, error: BaseException) -> None:
        """Answer a job that waits, and does not run."""
        if self.begin():
            self.release()
            self.future.set_exception(error)

    def release(self) -> None:
        """Let go of the inputs' memory."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release()

    def is_late(self, now: float) -> bool:
        """True when its time is over before it was begun."""
        return self.deadline is not None and now > self.deadline


def batch_key(inputs: Tensors) -> BatchKey:
    """The properties that two requests must share to be in one batch."""
    return tuple(sorted((name, a.dtype.str, a.shape[1:]) for name, a in inputs.items()))


def take_batch(queue: FairQueue[Job], most: int, max_batch: int) -> list[Job]:
    """Take the request that is next, and those that may share a batch with it.

    Late requests on the way are taken, too, and take no room: they are only to be refused.

    Args:
        queue: of all requests; clients take turns, and the requests of each keep their order.
        most: requests to take.
        max_batch: the batch limit, in samples.
    """
    now = time.monotonic()
    next_up = queue.head()
    if next_up is None or next_up.key is None:
        return queue.take(lambda job: True, 1)
    head: Job | None = None
    room = max_batch

    def fits(job: Job) -> bool:
        nonlocal head, room
        if job.is_late(now):
            return True
        if head is None:
            head = job
        elif job.key != head.key or job.key is None or job.size > room:
            return False
        room -= job.size
        return True

    return queue.take(fits, min(most, max_batch))


def merge(jobs: Sequence[Job]) -> Tensors:
    """The inputs of all jobs, one after the other along the first dimension."""
    first = jobs[0].inputs
    if len(jobs) == 1:
        return first
    return {name: np.concatenate([job.inputs[name] for job in jobs]) for name in first}


def split(outputs: Tensors, sizes: Sequence[int]) -> list[Tensors]:
    """The outputs of each job. Views: nothing is copied.

    Raises:
        ValueError: an output's first dimension is not the whole batch, so it cannot be
            told which part belongs to which request.
    """
    if len(sizes) == 1:
        return [outputs]
    total = sum(sizes)
    for name, array in outputs.items():
        if array.shape[:1] != (total,):
            raise ValueError(
                f"output {name!r} has shape {array.shape} for a batch of {total} samples"
            )
    parts: list[Tensors] = []
    start = 0
    for size in sizes:
        end = start + size
        parts.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return parts
