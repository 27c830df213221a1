"""Statistics of a model since the server started: this process counts, on its page.

This is the one place that counts requests and runs; `/metrics`, `/v2/.../stats` and `/v1/status`
read the sums over all processes (`view`). A request is counted by the process that speaks to its
client, a run of an engine by the process that owns the engine.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from typing import Protocol

from enginecrate.server.statistics.latencies import LatencyWindow
from enginecrate.server.statistics.layout import (
    BATCH_ROWS,
    BATCH_WORDS,
    BATCHES,
    BOUNDS_NS,
    BUILD_US,
    BUILDS,
    DURATION_WORDS,
    DURATIONS,
    EXECUTIONS,
    FAILED_NS,
    FAILURE_REASONS,
    FAILURES,
    INFERENCES,
    LAST_INFERENCE_MS,
    RUNG_FAILURE_REASONS,
    RUNG_FAILURES,
    SWAPS,
    FailureReason,
)
from enginecrate.server.statistics.page import StatisticsPages, make_pages
from enginecrate.server.statistics.view import StatisticsView

__all__ = ["ModelStatistics", "Steps"]

_REQUEST, _QUEUE, _INPUT, _COMPUTE, _OUTPUT = (
    DURATIONS + number * DURATION_WORDS for number in range(5)
)
_FAILURES = {reason: FAILURES + number for number, reason in enumerate(FAILURE_REASONS)}


class Steps(Protocol):
    """How long each step of a request took."""

    @property
    def queue_ns(self) -> int: ...
    @property
    def input_ns(self) -> int: ...
    @property
    def compute_ns(self) -> int: ...
    @property
    def output_ns(self) -> int: ...


class ModelStatistics:
    """Counts and durations of one model. Thread-safe, but for `answered`.

    page: of this process.
    view: the sums over the pages of all processes.
    """

    def __init__(self, pages: StatisticsPages | None = None, number: int = 0) -> None:
        """Go on with a page.

        Args:
            pages: of all processes; `None`: this process is the only one.
            number: of this process's page.
        """
        if pages is None:
            pages = make_pages(1, shared=False)
            pages[0].begin("server", os.getpid())
        self.page = pages[number]
        self.view = StatisticsView(pages, self.page)
        self._words = self.page.words
        self._lock = self.page.lock
        self._window = LatencyWindow(self.page)
        rows = range(BATCHES, BATCHES + BATCH_ROWS * BATCH_WORDS, BATCH_WORDS)
        self._rows = {self._words[row]: row for row in rows if self._words[row]}

    def succeeded(self, samples: int, request_ns: int, steps: Steps) -> None:
        """A request came back from the engine."""
        words, bounds = self._words, BOUNDS_NS
        queue_ns, input_ns = steps.queue_ns, steps.input_ns
        compute_ns, output_ns = steps.compute_ns, steps.output_ns
        with self._lock:
            words[INFERENCES] += samples
            words[LAST_INFERENCE_MS] = int(time.time() * 1000)
            words[_REQUEST] += request_ns
            words[_REQUEST + 1 + bisect_left(bounds, request_ns)] += 1
            words[_QUEUE] += queue_ns
            words[_QUEUE + 1 + bisect_left(bounds, queue_ns)] += 1
            words[_INPUT] += input_ns
            words[_INPUT + 1 + bisect_left(bounds, input_ns)] += 1
            words[_COMPUTE] += compute_ns
            words[_COMPUTE + 1 + bisect_left(bounds, compute_ns)] += 1
            words[_OUTPUT] += output_ns
            words[_OUTPUT + 1 + bisect_left(bounds, output_ns)] += 1

    def failed(self, reason: FailureReason, request_ns: int = 0) -> None:
        """A request was not answered as it should."""
        with self._lock:
            self._words[_FAILURES[reason]] += 1
            self._words[FAILED_NS] += request_ns

    def executed(self, samples: int, ns: int) -> None:
        """An engine ran once."""
        words = self._words
        with self._lock:
            words[EXECUTIONS] += 1
            row = self._rows.get(samples) or self._add_row(samples)
            if row:
                words[row + 1] += 1
                words[row + 2] += ns

    def answered(self, total: float, queue: float, compute: float) -> None:
        """An HTTP request was answered; all in milliseconds. For the event loop's thread."""
        self._window.add(total, queue, compute)

    def built(self, seconds: float) -> None:
        """A plan of the ladder was built."""
        with self._lock:
            self._words[BUILDS] += 1
            self._words[BUILD_US] += round(seconds * 1e6)

    def swapped(self) -> None:
        """A better engine took the place of one that served."""
        with self._lock:
            self._words[SWAPS] += 1

    def rung_failed(self, reason: str) -> None:
        """A rung of the ladder cannot serve. `reason`: one of `RUNG_FAILURE_REASONS`."""
        with self._lock:
            self._words[RUNG_FAILURES + RUNG_FAILURE_REASONS.index(reason)] += 1

    def _add_row(self, samples: int) -> int:
        """The row of a batch size that is new; 0 when there is no room, or no batch."""
        if not samples or len(self._rows) == BATCH_ROWS:
            return 0
        row = BATCHES + len(self._rows) * BATCH_WORDS
        self._words[row] = samples
        self._rows[samples] = row
        return row
