"""A batch: requests taken out of the queue up to the batch limit, merged, and parted again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from enginecrate.values import Tensors

__all__ = ["BatchKey", "Execution", "Job", "batch_key", "merge", "split", "take_batch"]

BatchKey = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, dtype and shape without the batch dimension of every input, sorted by name."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The outputs of one request, and how long each step took.

    batch: samples of the whole batch that it ran in.
    *_ns: waiting in the queue, merging inputs, the engine's run, parting outputs.
    """

    outputs: Tensors
    batch: int
    queue_ns: int
    input_ns: int
    compute_ns: int
    output_ns: int


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way to an engine.

    size: samples, 1 when the first dimension is not a batch.
    key: requests of equal keys may be merged; `None` is merged with nothing.
    deadline: on the clock of `time.monotonic`; a job is not begun after it.
    """

    inputs: Tensors
    size: int
    key: BatchKey | None
    deadline: float | None
    future: Future[Execution] = field(default_factory=Future)
    enqueued_ns: int = field(default_factory=time.perf_counter_ns)


def batch_key(inputs: Tensors) -> BatchKey:
    """The properties that two requests must share to be in one batch."""
    return tuple(sorted((name, a.dtype.str, a.shape[1:]) for name, a in inputs.items()))


def take_batch(queue: deque[Job], most: int, max_batch: int) -> list[Job]:
    """Take the oldest request out of a queue, and those that may share a batch with it, in order.

    Args:
        queue: at least one request; the oldest one is first.
        most: requests to take.
        max_batch: the batch limit, in samples.
    """
    head = queue.popleft()
    batch = [head]
    if head.key is None:
        return batch
    room = max_batch - head.size
    passed: list[Job] = []
    while room and queue and len(batch) < most:
        job = queue.popleft()
        if job.key == head.key and job.size <= room:
            batch.append(job)
            room -= job.size
        else:
            passed.append(job)
    queue.extendleft(reversed(passed))
    return batch


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
    ends = np.cumsum(sizes)
    return [
        {name: array[end - size : end] for name, array in outputs.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]
