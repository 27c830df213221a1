"""The sums over the pages of all processes of a server.

Counters of dead processes stay in them, so that no sum ever falls; gauges are those of living ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from enginecrate.server.statistics.latencies import Latencies, read_latencies
from enginecrate.server.statistics.layout import (
    BATCH_ROWS,
    BATCH_WORDS,
    BATCHES,
    BUILD_US,
    BUILDS,
    CONNECTIONS,
    COUNTERS_END,
    DURATION_WORDS,
    DURATIONS,
    EXECUTIONS,
    FAILED_NS,
    FAILURE_REASONS,
    FAILURES,
    GAUGE_NAMES,
    INFERENCES,
    KINDS,
    LAST_INFERENCE_MS,
    PARTS,
    REFUSAL_REASONS,
    REFUSALS,
    RESPONSES,
    RUNG_FAILURE_REASONS,
    RUNG_FAILURES,
    STARTED_MS,
    STARTED_NS,
    SWAPS,
    FailureReason,
    GaugeName,
    ProcessKind,
    RefusalReason,
)
from enginecrate.server.statistics.page import CounterPage, StatisticsPages

__all__ = ["Duration", "LadderTotals", "ProcessCount", "StatisticsView", "Totals"]

T = TypeVar("T", bound=str)


@dataclass(frozen=True, slots=True)
class Duration:
    """A count, a sum, and a histogram over `BUCKETS_US` where there is one."""

    count: int = 0
    ns: int = 0
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LadderTotals:
    """What the engine ladder has done. failures: rungs that cannot serve, by reason."""

    built: int
    build_seconds: float
    swaps: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ProcessCount:
    """Processes of one kind: how many live, and how often one took the place of another."""

    living: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything that was counted since the server started, at one moment.

    durations: of answered requests, by part.
    batches: runs of engines, by batch size.
    responses: answers of HTTP, by class: `2xx`.
    connections: of HTTP, all that were ever opened.
    gauges: of living processes.
    started_ms: when the server started, since 1970; `started_ns` on the clock of `time.monotonic`.
    """

    inferences: int
    executions: int
    last_inference_ms: int
    durations: Mapping[str, Duration]
    fail: Duration
    failures: Mapping[FailureReason, int]
    batches: Mapping[int, Duration]
    responses: Mapping[str, int]
    refusals: Mapping[RefusalReason, int]
    connections: int
    ladder: LadderTotals
    gauges: Mapping[GaugeName, float]
    processes: Mapping[ProcessKind, ProcessCount]
    started_ms: int
    started_ns: int

    @property
    def success(self) -> Duration:
        """Requests that the engine answered."""
        return self.durations["request"]


class StatisticsView:
    """Reads the pages. Thread-safe."""

    def __init__(self, pages: StatisticsPages, own: CounterPage) -> None:
        """Read nothing yet.

        Args:
            pages: of all processes.
            own: of this process; its gauges are asked for whenever they are read.
        """
        self._pages = pages
        self._own = own

    def totals(self) -> Totals:
        """The sums at this moment."""
        self._own.publish()
        pages = [page for page in self._pages if page.kind is not None or page is self._own]
        rows = [page.words[:COUNTERS_END].tolist() for page in pages]
        begun = [row for row in rows if row[STARTED_MS]] or rows
        sums = [sum(column) for column in zip(*rows, strict=True)]
        return Totals(
            inferences=sums[INFERENCES],
            executions=sums[EXECUTIONS],
            last_inference_ms=max(row[LAST_INFERENCE_MS] for row in rows),
            durations={part: _duration(sums, number) for number, part in enumerate(PARTS)},
            fail=Duration(sum(_named(sums, FAILURES, FAILURE_REASONS).values()), sums[FAILED_NS]),
            failures=_named(sums, FAILURES, FAILURE_REASONS),
            batches=_batches(rows),
            responses={f"{number}xx": sums[RESPONSES + number] for number in range(1, 6)},
            refusals=_named(sums, REFUSALS, REFUSAL_REASONS),
            connections=sums[CONNECTIONS],
            ladder=LadderTotals(
                sums[BUILDS],
                sums[BUILD_US] / 1e6,
                sums[SWAPS],
                _named(sums, RUNG_FAILURES, RUNG_FAILURE_REASONS),
            ),
            gauges=_gauges(pages),
            processes=_processes(pages),
            started_ms=min(row[STARTED_MS] for row in begun),
            started_ns=min(row[STARTED_NS] for row in begun),
        )

    def latencies(self) -> Latencies:
        """The requests that were answered within the last minute."""
        return read_latencies(page for page in self._pages if page.kind is not None)


def _named(sums: Sequence[int], start: int, names: Sequence[T]) -> dict[T, int]:
    return {name: sums[start + number] for number, name in enumerate(names)}


def _duration(sums: Sequence[int], number: int) -> Duration:
    start = DURATIONS + number * DURATION_WORDS
    buckets = tuple(sums[start + 1 : start + DURATION_WORDS])
    return Duration(sum(buckets), sums[start], buckets)


def _batches(rows: Sequence[Sequence[int]]) -> dict[int, Duration]:
    counts: Counter[int] = Counter()
    times: Counter[int] = Counter()
    for row in rows:
        for start in range(BATCHES, BATCHES + BATCH_ROWS * BATCH_WORDS, BATCH_WORDS):
            size, count, ns = row[start : start + BATCH_WORDS]
            if not size:
                break
            counts[size] += count
            times[size] += ns
    return {size: Duration(count, times[size]) for size, count in counts.items() if count}


def _gauges(pages: Sequence[CounterPage]) -> dict[GaugeName, float]:
    readings = [page.gauges() for page in pages]
    sums = {name: sum(reading[name] for reading in readings) for name in GAUGE_NAMES}
    return {**sums, "queue_seconds": max(reading["queue_seconds"] for reading in readings)}


def _processes(pages: Sequence[CounterPage]) -> dict[ProcessKind, ProcessCount]:
    kinds = {kind: [page for page in pages if page.kind == kind] for kind in KINDS}
    return {
        kind: ProcessCount(
            sum(page.has_process for page in of_kind), sum(page.restarts for page in of_kind)
        )
        for kind, of_kind in kinds.items()
        if of_kind
    }
