"""Latencies of the last minute: histograms in slices of five seconds, which are used in turn.

Buckets are as wide as a sixteenth of their power of two, so that a percentile is off by 3 % at
most. A slice is cleared by its writer when its turn comes; a reader that meets this leaves it out.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from enginecrate.server.statistics.layout import (
    SLICE_BUCKETS,
    SLICE_COUNT,
    SLICE_PARTS,
    SLICE_WORDS,
    SLICES,
)
from enginecrate.server.statistics.page import CounterPage

__all__ = ["WINDOW_SECONDS", "Latencies", "LatencyWindow", "read_latencies"]

WINDOW_SECONDS = 60.0

_SLICE_SECONDS = WINDOW_SECONDS / (SLICE_COUNT - 1)
_CLEAR = bytes(SLICE_WORDS * 8 - 8)


def _edges() -> list[float]:
    """Lower bounds of all buckets but the first, in milliseconds.

    Up to 32 microseconds a bucket is one microsecond wide, from then on a sixteenth of its power of
    two; the last one begins at 17 minutes.
    """
    whole = [float(us) for us in range(1, 32)]
    octaves = range((SLICE_BUCKETS - 32) // 16)
    parts = [float((16 + part) << 1 + octave) for octave in octaves for part in range(16)]
    return [us / 1000 for us in (*whole, *parts)]


_EDGES = _edges()


def _middle(bucket: int) -> float:
    """The middle of a bucket, in milliseconds."""
    low = _EDGES[bucket - 1] if bucket else 0.0
    return (low + _EDGES[min(bucket, len(_EDGES) - 1)]) / 2


class LatencyWindow:
    """The slices of one page, for its writer: the event loop's thread alone."""

    def __init__(self, page: CounterPage) -> None:
        self._page = page
        self._cells = page.cells
        self._until = 0.0
        self._total = self._queue = self._compute = 0

    def add(self, total: float, queue: float, compute: float) -> None:
        """A request was answered; all in milliseconds."""
        now = time.monotonic()
        if now >= self._until:
            self._turn(now)
        cells = self._cells
        cells[self._total + bisect_right(_EDGES, total)] += 1
        cells[self._queue + bisect_right(_EDGES, queue)] += 1
        cells[self._compute + bisect_right(_EDGES, compute)] += 1

    def _turn(self, now: float) -> None:
        number = int(now / _SLICE_SECONDS)
        self._until = (number + 1) * _SLICE_SECONDS
        word = SLICES + number % SLICE_COUNT * SLICE_WORDS
        words = self._page.words
        if words[word] != number:  # else the process before this one has begun it
            words[word] = 0
            self._cells.cast("B")[word * 8 + 8 : (word + SLICE_WORDS) * 8] = _CLEAR
            words[word] = number
        self._total = word * 2 + 2
        self._queue = self._total + SLICE_BUCKETS
        self._compute = self._queue + SLICE_BUCKETS


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """Histograms of requests that were answered within the window, by part."""

    histograms: np.ndarray

    @property
    def count(self) -> int:
        """Requests in them."""
        return int(self.histograms[0].sum())

    def percentile(self, part: str, percent: float) -> float | None:
        """The nearest-rank percentile in milliseconds; `None` when there are no requests.

        Args:
            part: one of `SLICE_PARTS`.
            percent: 0 to 100.
        """
        sums = np.cumsum(self.histograms[SLICE_PARTS.index(part)])
        count = int(sums[-1])
        if not count:
            return None
        rank = max(1, int(-(-count * percent // 100)))
        return _middle(int(np.searchsorted(sums, rank)))


def read_latencies(pages: Iterable[CounterPage]) -> Latencies:
    """The sum over all pages."""
    newest = int(time.monotonic() / _SLICE_SECONDS)
    total = np.zeros((len(SLICE_PARTS), SLICE_BUCKETS), np.int64)
    for page in pages:
        for position in range(SLICE_COUNT):
            word = SLICES + position * SLICE_WORDS
            number = page.words[word]
            if not newest - SLICE_COUNT + 1 < number <= newest:  # one is being cleared
                continue
            start = word * 2 + 2
            cells = page.cells[start : start + total.size]
            histograms = np.array(cells, np.int64).reshape(total.shape)
            if page.words[word] == number:
                total += histograms
    return Latencies(total)
