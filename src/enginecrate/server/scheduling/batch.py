"""Merging the tensors of several requests into one batch, and parting the outputs again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from enginecrate.values import Tensors

__all__ = ["BatchKey", "Execution", "Job", "batch_key", "merge", "split"]

BatchKey = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, dtype and shape without the batch dimension of every input, sorted by name."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one request.

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
    """What must agree for two requests to share a batch."""
    return tuple(sorted((name, a.dtype.str, a.shape[1:]) for name, a in inputs.items()))


def merge(jobs: Sequence[Job]) -> Tensors:
    """The inputs of all jobs, one after the other along the first dimension."""
    first = jobs[0].inputs
    if len(jobs) == 1:
        return first
    return {name: np.concatenate([job.inputs[name] for job in jobs]) for name in first}


def split(outputs: Tensors, sizes: Sequence[int]) -> list[Tensors]:
    """The outputs of each job. Views: nothing is copied.

    Raises:
        ValueError: an output's first dimension is not the whole batch, so nobody can say which
            part belongs to which request.
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
