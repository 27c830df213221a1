"""Costs of runs, learnt from runs: how long an engine takes for a batch of some size."""

from __future__ import annotations

from collections import deque

__all__ = ["RunCosts"]

_WINDOW = 9
"""Runs of one size whose median counts: it follows a change soon, and an outlier is nothing."""

_RENEW = 16
"""Runs after which the conclusions are drawn again."""

_FIRST_GUESS = (0.001, 0.001)
"""Seconds for a run, and for each sample, before the first one: the proof of a plan mends it."""

_HAND_OVER = 0.0001
"""Seconds that a batch costs beside its run."""

_SHORT = 0.02
"""Runs up to this many seconds delay nobody: their batches are not limited."""

_ENOUGH = 3
"""Runs that say what a size costs."""

_GAIN = 0.95
"""A batch of twice the size is worth it when its samples cost this part or less."""

_FORGET = 512
"""Runs after which sizes that were not worth it are tried again."""

_LARGEST = 1 << 16


class RunCosts:
    """The median of the last runs of each size; a straight line gives the sizes in between.

    Not thread-safe: numbers that are a run old do no harm, so readers need no lock.
    """

    def __init__(self) -> None:
        self._recent: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}
        self._line = _FIRST_GUESS
        self._each: dict[int, deque[float]] = {}
        self._efficient: int | None = None
        self._age = 0

    def observe(self, samples: int, seconds: float) -> None:
        """A run has taken this long."""
        recent = self._recent.get(samples)
        if recent is None:
            recent = self._recent[samples] = deque(maxlen=_WINDOW)
            self._age = 0
        recent.append(seconds)
        self._medians[samples] = sorted(recent)[len(recent) // 2]
        if self._age % _RENEW == 0:
            self._line = _line(self._medians)
        self._age += 1
        self._observe_each(samples, (seconds + _HAND_OVER) / samples)

    def seconds(self, samples: int) -> float:
        """How long a run of this size takes."""
        known = self._medians.get(samples)
        if known is not None:
            return known
        fixed, each = self._line
        return fixed + each * samples

    def efficient(self, most: int) -> int:
        """The largest batch that is worth its time: whoever waits is answered sooner so.

        Batches of short runs are not limited. Longer ones are tried one doubling after the other,
        and allowed where a sample costs less in them.

        Args:
            most: the limit on batches; the answer while too little is known.
        """
        if self._efficient is None or self.seconds(most) <= _SHORT:
            return most
        return min(most, self._efficient)

    def share(self, samples: int, max_batch: int) -> float:
        """How long an engine is busy with a request while it is at work with full batches.

        Args:
            samples: of the request.
            max_batch: the largest batch; 1 or less: each request runs alone.
        """
        if samples >= max_batch:
            return self.seconds(samples)
        return self.seconds(max_batch) * samples / max_batch

    def _observe_each(self, samples: int, seconds: float) -> None:
        """One of so many samples took this long: sizes between two powers of 2 count together."""
        size = 1 << (samples.bit_length() - 1)
        recent = self._each.setdefault(size, deque(maxlen=_WINDOW))
        recent.append(seconds)
        if seconds * samples <= _SHORT and self._age % _RENEW:
            return
        self._efficient = self._largest_efficient()
        if self._age % _FORGET == 0 and self._efficient is not None:
            for size in [size for size in self._each if size > self._efficient]:
                del self._each[size]

    def _largest_efficient(self) -> int | None:
        """`None` while too little is known."""
        size = 1
        while self.seconds(size * 2) <= _SHORT and size < _LARGEST:
            size *= 2
        each = self._median_each(size)
        if each is None:
            return size if any(len(recent) >= _ENOUGH for recent in self._each.values()) else None
        while (next_each := self._median_each(size * 2)) is not None and next_each <= each * _GAIN:
            size, each = size * 2, next_each
        return size if next_each is not None else size * 2

    def _median_each(self, size: int) -> float | None:
        recent = self._each.get(size, ())
        return sorted(recent)[len(recent) // 2] if len(recent) >= _ENOUGH else None


def _line(points: dict[int, float]) -> tuple[float, float]:
    """Least squares: seconds for a run, and for each sample; neither is negative."""
    count = len(points)
    mean_x = sum(points) / count
    mean_y = sum(points.values()) / count
    spread = sum((x - mean_x) ** 2 for x in points)
    if not spread:  # one size: all of it may be for the samples
        return 0.0, mean_y / mean_x
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / spread
    slope = min(max(slope, 0.0), mean_y / mean_x)
    return mean_y - slope * mean_x, slope
