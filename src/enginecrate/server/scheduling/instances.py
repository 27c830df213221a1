"""Instances: engines with a thread each, which take their batches from one queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from enginecrate.engines.base import Engine
from enginecrate.errors import EnginecrateError, EngineRunFailed, RequestTimeout
from enginecrate.server.scheduling.batch import Execution, Job, merge, split

__all__ = ["InstanceGroup"]

_log = logging.getLogger(__name__)

_TakeWork = Callable[[], list[Job] | None]
"""Waits for a batch and hands it out; `None` ends the thread."""

_Done = Callable[[], None]
"""Told after each batch."""


class InstanceGroup:
    """Several engines that take their work from one queue."""

    def __init__(self, engines: Sequence[Engine], take: _TakeWork, done: _Done) -> None:
        self._threads = [
            threading.Thread(
                target=_work, args=(engine, take, done), name=f"instance-{number}", daemon=True
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


def _work(engine: Engine, take: _TakeWork, done: _Done) -> None:
    while (jobs := take()) is not None:
        begun = [job for job in jobs if _begin(job)]
        if begun:
            _run(engine, begun)
        done()
        del jobs, begun  # a waiting thread keeps no tensors alive
    engine.close()


def _begin(job: Job) -> bool:
    """Start a job; `False` when its client has gone, or its time is over."""
    if not job.future.set_running_or_notify_cancel():
        return False
    if job.deadline is not None and time.monotonic() > job.deadline:
        job.future.set_exception(
            RequestTimeout("the request's time was over before an engine was free; try again")
        )
        return False
    return True


def _run(engine: Engine, jobs: Sequence[Job]) -> None:
    try:
        executions = _execute(engine, jobs)
    except Exception as exc:  # an engine's errors belong to its requests
        if len(jobs) == 1:
            jobs[0].future.set_exception(_translated(exc))
            return
        _log.warning("a batch of %d requests failed; each is run alone", len(jobs), exc_info=exc)
        for job in jobs:
            _run(engine, [job])
        return
    for job, execution in zip(jobs, executions, strict=True):
        job.future.set_result(execution)


def _execute(engine: Engine, jobs: Sequence[Job]) -> list[Execution]:
    start = time.perf_counter_ns()
    inputs = merge(jobs)
    merged = time.perf_counter_ns()
    outputs = engine.run(inputs)
    computed = time.perf_counter_ns()
    parts = split(outputs, [job.size for job in jobs])
    done = time.perf_counter_ns()
    batch = sum(job.size for job in jobs)
    return [
        Execution(
            outputs=part,
            batch=batch,
            queue_ns=start - job.enqueued_ns,
            input_ns=merged - start,
            compute_ns=computed - merged,
            output_ns=done - computed,
        )
        for job, part in zip(jobs, parts, strict=True)
    ]


def _translated(error: Exception) -> EnginecrateError:
    if isinstance(error, EnginecrateError):
        return error
    translated = EngineRunFailed(f"the engine failed: {type(error).__name__}: {error}")
    translated.__cause__ = error
    return translated
