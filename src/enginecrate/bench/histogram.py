"""A histogram of durations with a bounded relative error, which processes can add together.

Buckets are log-linear, as in HdrHistogram: below `2**(BITS + 1)` ns each value has its own, and
above that each octave has `2**BITS` of equal width. A value of `b` bits, shifted right by
`e = b - BITS - 1`, is at least `2**BITS`, and its bucket is `2**e` wide: the width is at most
`2**-BITS` of the value. A percentile is the upper end of the bucket in which the exact one lies
(or the largest value, which is known), so with `BITS = 10`

    exact <= reported < exact * (1 + 2**-10), less than 0.1 % more.

The package `hdrhistogram` does the same; without wheels for aarch64, where it needs a C compiler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "RELATIVE_ERROR", "Histogram", "HistogramPart"]

BITS = 10
RELATIVE_ERROR = 2.0**-BITS
_OCTAVES = 64 - BITS - 1
_SIZE = (_OCTAVES + 1) << BITS
_Counts = npt.NDArray[np.int64]


class HistogramPart(msgspec.Struct, frozen=True, array_like=True):
    """The buckets of a histogram that are not empty, as bytes: what a process sends."""

    indexes: bytes
    counts: bytes
    total_ns: int
    least_ns: int
    most_ns: int


class Histogram:
    """Counts of durations in nanoseconds. Count, sum, least and most are exact."""

    def __init__(self) -> None:
        self._counts: _Counts = np.zeros(_SIZE, np.int64)
        self.count = 0
        self.total_ns = 0
        self.least_ns = 0
        self.most_ns = 0

    def add(self, durations: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Count durations, many at once. One below zero counts as zero."""
        values = np.maximum(np.asarray(durations, np.int64), 0)
        if values.size:
            buckets, counts = np.unique(_buckets(values), return_counts=True)
            self._take(buckets, counts, int(values.sum()), int(values.min()), int(values.max()))

    def merge(self, part: HistogramPart) -> None:
        """Count what another process has counted."""
        counts = np.frombuffer(part.counts, "<i8")
        if counts.size:
            indexes = np.frombuffer(part.indexes, "<i4")
            self._take(indexes, counts, part.total_ns, part.least_ns, part.most_ns)

    def part(self) -> HistogramPart:
        """The counts, to be sent to another process."""
        indexes = np.flatnonzero(self._counts)
        counts = self._counts[indexes]
        return HistogramPart(
            indexes.astype("<i4").tobytes(),
            counts.astype("<i8").tobytes(),
            self.total_ns,
            self.least_ns,
            self.most_ns,
        )

    def percentile(self, share: float) -> int:
        """The nearest-rank percentile, at most `RELATIVE_ERROR` above the exact one.

        Args:
            share: 0..100.

        Raises:
            ValueError: nothing was counted.
        """
        if not self.count:
            raise ValueError("a histogram without values has no percentiles")
        rank = max(1, math.ceil(round(share * self.count / 100, 6)))
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(_upper_end(bucket), self.most_ns)

    def _take(self, indexes: _Counts, counts: _Counts, total: int, least: int, most: int) -> None:
        self._counts[indexes] += counts
        self.least_ns = min(self.least_ns, least) if self.count else least
        self.most_ns = max(self.most_ns, most)
        self.total_ns += total
        self.count += int(counts.sum())


def _buckets(values: _Counts) -> _Counts:
    # A float holds 53 bits: rounding up may reach the next power of two, never a smaller octave.
    bits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shifts = np.maximum(bits - BITS - 1, 0)
    shifted = values >> shifts
    # Undo the rounding of the largest values: their octave is one lower.
    too_far = (shifts > 0) & (shifted < (1 << BITS))
    shifts = shifts - too_far
    found: _Counts = (shifts << BITS) + (values >> shifts)
    return found


def _upper_end(bucket: int) -> int:
    """The largest duration in a bucket."""
    shift = max((bucket >> BITS) - 1, 0)
    return ((bucket - (shift << BITS) + 1) << shift) - 1
