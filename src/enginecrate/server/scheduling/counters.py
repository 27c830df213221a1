"""Counters: a scheduler and engines that count the requests and runs that pass through them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

from enginecrate.engines.base import Engine, PartsEngine
from enginecrate.errors import EnginecrateError, QueueFull, RequestTimeout
from enginecrate.server.scheduling.batch import Execution, Lease
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.server.statistics.layout import FailureReason
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.values import Tensors, TensorSpec

__all__ = ["CountedEngine", "CountedScheduler"]


class CountedEngine:
    """An engine whose runs are counted while `counting` is set."""

    def __init__(self, engine: Engine, statistics: ModelStatistics) -> None:
        self.counting = False
        self._engine = engine
        self._statistics = statistics

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._engine.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._engine.outputs

    @property
    def max_batch(self) -> int:
        return self._engine.max_batch

    @property
    def thread_safe(self) -> bool:
        """Whether `run` may be called from several threads at once."""
        return bool(getattr(self._engine, "thread_safe", False))

    def warm(self, largest: int, seconds: float) -> None:
        """Make an engine ready for the batches that will come, where that takes time."""
        warm = getattr(self._engine, "warm", None)
        if warm is not None:
            warm(largest, seconds)

    @property
    def parts(self) -> PartsEngine | None:
        """The engine, when it takes the requests of a batch from where they lie."""
        return self if hasattr(self._engine, "run_parts") else None

    def run_parts(self, parts: Sequence[Tensors], into: Sequence[Tensors | None]) -> list[Tensors]:
        start = time.perf_counter_ns()
        outputs: list[Tensors] = self._engine.run_parts(parts, into)  # type: ignore[attr-defined]
        if self.counting:
            samples = sum(_samples(part, self._engine.max_batch) for part in parts)
            self._statistics.executed(samples, time.perf_counter_ns() - start)
        return outputs

    def run(self, inputs: Tensors) -> Tensors:
        start = time.perf_counter_ns()
        outputs = self._engine.run(inputs)
        if self.counting:
            samples = _samples(inputs, self._engine.max_batch)
            self._statistics.executed(samples, time.perf_counter_ns() - start)
        return outputs

    def close(self) -> None:
        self._engine.close()


class CountedScheduler:
    """A scheduler whose requests are counted."""

    def __init__(self, scheduler: Scheduler, statistics: ModelStatistics, *, batched: bool) -> None:
        self._scheduler = scheduler
        self._statistics = statistics
        self._batched = batched

    @property
    def depth(self) -> int:
        return self._scheduler.depth

    @property
    def estimated_wait_seconds(self) -> float:
        return self._scheduler.estimated_wait_seconds

    def admit(self, samples: int, client: Client | None = None) -> None:
        try:
            self._scheduler.admit(samples, client)
        except QueueFull:
            self._statistics.failed("REJECTED")
            raise

    @property
    def runs_here(self) -> bool:
        return self._scheduler.runs_here

    def run_here(self, inputs: Tensors) -> Execution | None:
        start = time.perf_counter_ns()
        try:
            execution = self._scheduler.run_here(inputs)
        except EnginecrateError as exc:
            self._statistics.failed(_reason(exc), time.perf_counter_ns() - start)
            raise
        if execution is not None:
            elapsed = time.perf_counter_ns() - start
            self._statistics.succeeded(_samples(inputs, self._batched), elapsed, execution)
        return execution

    def submit(
        self,
        inputs: Tensors,
        deadline: float | None = None,
        *,
        client: Client | None = None,
        lease: Lease | None = None,
        into: Tensors | None = None,
    ) -> Future[Execution]:
        start = time.perf_counter_ns()
        samples = _samples(inputs, self._batched)
        try:
            future = self._scheduler.submit(inputs, deadline, client=client, lease=lease, into=into)
        except QueueFull:
            self._statistics.failed("REJECTED")
            raise

        def count(done: Future[Execution]) -> None:
            elapsed = time.perf_counter_ns() - start
            try:
                execution = done.result()
            except (EnginecrateError, CancelledError) as exc:
                self._statistics.failed(_reason(exc), elapsed)
            else:
                self._statistics.succeeded(samples, elapsed, execution)

        future.add_done_callback(count)
        return future

    def limit_batch(self, max_batch: int) -> None:
        self._scheduler.limit_batch(max_batch)

    def close(self, timeout: float = 5.0) -> bool:
        return self._scheduler.close(timeout)


def _samples(inputs: Tensors, batched: int | bool) -> int:
    return int(next(iter(inputs.values())).shape[0]) if batched and inputs else 1


def _reason(error: BaseException) -> FailureReason:
    if isinstance(error, (CancelledError, RequestTimeout)):
        return "CANCELED"
    return "REJECTED" if isinstance(error, QueueFull) else "BACKEND"
