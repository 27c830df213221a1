"""Instances: engines with a thread each, which take their batches from one queue."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from enginecrate.engines.base import Engine, PartsEngine
from enginecrate.errors import (
    DeviceLost,
    EnginecrateError,
    EngineOutOfMemory,
    EngineRunFailed,
    ModelNotReady,
    RequestTimeout,
)
from enginecrate.server.scheduling.batch import Execution, Job, merge, split

__all__ = ["InstanceGroup", "Work", "lost_words", "run_jobs", "translated"]

_log = logging.getLogger(__name__)

_Outcome = tuple[Job, Execution | EnginecrateError]


class Work(Protocol):
    """Where instances take batches from, and tell how they went. Called from their threads."""

    def take(self) -> list[Job] | None:
        """Wait for a batch; `None` ends the thread."""
        ...

    def done(self) -> None:
        """The batch is over: the engine is free."""
        ...

    def ran(self, samples: int, ns: int) -> None:
        """A run has taken this long."""
        ...

    def shed(self, samples: int, error: Exception) -> None:
        """A batch of this size did not fit into memory."""
        ...

    def lost(self, error: DeviceLost) -> None:
        """The device is lost to this process: nothing can run any more."""
        ...


class InstanceGroup:
    """Several engines that take their work from one queue."""

    def __init__(self, engines: Sequence[Engine], work: Work) -> None:
        self._threads = [
            threading.Thread(
                target=_work, args=(engine, work), name=f"instance-{number}", daemon=True
            )
            for number, engine in enumerate(engines)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> bool:
        """Wait until every engine is closed; `False` when one still runs after the time."""
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def translated(error: Exception) -> EnginecrateError:
    """The error that a request gets for what an engine raised."""
    if isinstance(error, EnginecrateError):
        return error
    failure = EngineRunFailed(f"the engine failed: {type(error).__name__}: {error}")
    if isinstance(error, MemoryError):
        failure = EngineOutOfMemory(f"the process lacks memory for this run: {error}; try again")
    failure.__cause__ = error
    return failure


def lost_words(error: DeviceLost) -> ModelNotReady:
    """The error of requests that the lost device leaves unanswered."""
    failure = ModelNotReady(
        "the device that the model runs on is lost, and the engine starts again; "
        "send the request again after a moment"
    )
    failure.__cause__ = error
    return failure


def run_jobs(
    engine: Engine, jobs: Sequence[Job], work: Work, done: Callable[[], None] | None = None
) -> None:
    """Run a batch, and tell those who wait for it.

    Args:
        engine: that is free.
        jobs: of the batch; those whose client has gone are left out.
        work: is told how it went.
        done: called when the engine is free again, before anybody is told.
    """
    now = time.monotonic()
    begun = [job for job in jobs if _begin(job, now)]
    outcomes = _run(engine, begun, work) if begun else []
    for job in begun:
        job.release()
    if done is not None:
        done()
    for job, outcome in outcomes:
        if isinstance(outcome, Execution):
            job.future.set_result(outcome)
        else:
            job.future.set_exception(outcome)


def _work(engine: Engine, work: Work) -> None:
    while (jobs := work.take()) is not None:
        run_jobs(engine, jobs, work, work.done)
        del jobs  # a waiting thread keeps no tensors alive
    with contextlib.suppress(DeviceLost):  # told already
        engine.close()


def _begin(job: Job, now: float) -> bool:
    """Start a job; `False` when its client has gone, or its time is over."""
    if job.is_late(now):
        job.fail(RequestTimeout("the request's time was over before an engine was free; try again"))
        return False
    return job.begin()


def _run(engine: Engine, jobs: Sequence[Job], work: Work) -> list[_Outcome]:
    """Run a batch; one that fails is run again in parts, since its requests may differ."""
    try:
        return list(zip(jobs, _execute(engine, jobs, work), strict=True))
    except DeviceLost as exc:
        work.lost(exc)
        return [(job, lost_words(exc)) for job in jobs]
    except (EngineOutOfMemory, MemoryError) as exc:
        if len(jobs) == 1:
            return [(jobs[0], translated(exc))]
        work.shed(sum(job.size for job in jobs), exc)
        middle = len(jobs) // 2
        parts = [jobs[:middle], jobs[middle:]]
    except Exception as exc:  # an engine's errors belong to its requests
        if len(jobs) == 1:
            return [(jobs[0], translated(exc))]
        _log.warning("a batch of %d requests failed; each is run alone", len(jobs), exc_info=exc)
        parts = [[job] for job in jobs]
    return [outcome for part in parts for outcome in _run(engine, part, work)]


def _execute(engine: Engine, jobs: Sequence[Job], work: Work) -> list[Execution]:
    start = time.perf_counter_ns()
    engine_of_parts: PartsEngine | None = getattr(engine, "parts", None)
    if engine_of_parts is not None:
        merged = start
        parts = engine_of_parts.run_parts([job.inputs for job in jobs], [job.into for job in jobs])
        computed = time.perf_counter_ns()
    else:
        inputs = merge(jobs)
        merged = time.perf_counter_ns()
        outputs = engine.run(inputs)
        computed = time.perf_counter_ns()
        parts = split(outputs, [job.size for job in jobs])
    batch = sum(job.size for job in jobs)
    work.ran(batch, computed - merged)
    done = time.perf_counter_ns()
    return [
        Execution(
            part,
            batch,
            start - job.enqueued_ns,
            merged - start,
            computed - merged,
            done - computed,
        )
        for job, part in zip(jobs, parts, strict=True)
    ]
