"""Windows of a measurement, and the rule that says when it is stable.

As perf_analyzer does it: throughput and mean latency of three windows in a row lie within a
tolerance of their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from enginecrate.bench.histogram import Histogram
from enginecrate.bench.messages import Tick

__all__ = ["STABLE_WINDOWS", "Window", "Windows", "is_stable"]

STABLE_WINDOWS = 3
_NS = 1_000_000_000


@dataclass(slots=True)
class Window:
    """The answers that came in a part of the measurement; begin and end in nanoseconds."""

    begin: int
    end: int
    latencies: Histogram = field(default_factory=Histogram)

    @property
    def seconds(self) -> float:
        """The length."""
        return (self.end - self.begin) / _NS

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return self.latencies.count / self.seconds if self.end > self.begin else 0.0

    @property
    def mean_ns(self) -> float:
        """The mean latency; 0 without an answer."""
        count = self.latencies.count
        return self.latencies.total_ns / count if count else 0.0


class Windows:
    """The windows from `begin` on, each `seconds` long, filled with the ticks of all processes."""

    def __init__(self, begin: int, seconds: float, processes: int) -> None:
        self._begin = begin
        self._length = max(1, round(seconds * _NS))
        self._reached = [begin] * processes
        self._windows: dict[int, Window] = {}

    def add(self, process: int, tick: Tick) -> None:
        """Count a tick in the window that holds its middle."""
        if tick.begin < self._begin or tick.end <= tick.begin:
            return
        number = ((tick.begin + tick.end) // 2 - self._begin) // self._length
        window = self._windows.setdefault(number, Window(tick.begin, tick.end))
        window.begin, window.end = min(window.begin, tick.begin), max(window.end, tick.end)
        window.latencies.merge(tick.latencies)
        self._reached[process] = (tick.begin + tick.end) // 2

    def whole(self) -> list[Window]:
        """The windows that every process has left behind, in order."""
        count = (min(self._reached) - self._begin) // self._length
        return [self._windows[number] for number in range(count) if number in self._windows]

    def until(self, end: int) -> list[Window]:
        """The windows that were whole at a moment: the end of the measurement."""
        # A tick is late by a moment: the last window ends with the one that was due.
        count = (end - self._begin + self._length // 4) // self._length
        return [self._windows[number] for number in range(count) if number in self._windows]


def is_stable(windows: Sequence[Window], tolerance: float) -> bool:
    """True when the last three windows agree.

    Args:
        windows: in order.
        tolerance: 0.1 allows a tenth on both sides of the mean.
    """
    last = windows[-STABLE_WINDOWS:]
    if len(last) < STABLE_WINDOWS or not all(window.latencies.count for window in last):
        return False
    return all(
        _agree(values, tolerance)
        for values in (
            [window.throughput for window in last],
            [window.mean_ns for window in last],
        )
    )


def _agree(values: Sequence[float], tolerance: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= tolerance * mean for value in values)
