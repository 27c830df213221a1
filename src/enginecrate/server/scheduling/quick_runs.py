"""Quick runs: an engine that is cheaper than a change of threads runs where the request is.

A hand-over to another thread and back costs 50 to 150 us; an engine that takes less is called in
the thread of its caller, the event loop. Nothing else is done there meanwhile, so what was
chosen is watched: a run that is too long takes the choice back.
"""

from __future__ import annotations

import time
from collections import deque

__all__ = ["QuickRuns"]

_QUICK_NS = 200_000
"""The 99th percentile of runs that are quick."""

_LONGEST_NS = 500_000
"""A single run that takes longer ends it."""

_WINDOW = 200
_SLOW_RUNS = _WINDOW // 100
"""Runs in the window that may take longer than a quick one: its percentile is the 99th."""

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 30.0
"""Seconds until it is tried again. Doubled when the choice did not last for a window; a machine
that is busy with something else takes it back now and then, and that costs little."""

_LASTING = 1000
"""Runs after which a pause was an accident."""


class QuickRuns:
    """The choice, for runs of up to `most` samples; 0 means none.

    A run in an engine's own thread that was quick is a reason to try it. Its length is a poor
    measure at load, since the thread waits for the interpreter; runs in the caller's thread say
    how it is. Not thread-safe: `most` may be read from anywhere, and a race costs one run.
    """

    def __init__(self) -> None:
        self.most = 0
        self._slow: deque[bool] = deque(maxlen=_WINDOW)
        self._slow_count = 0
        self._runs = 0
        self._pause = _FIRST_PAUSE
        self._paused_until = 0.0

    def observe_elsewhere(self, samples: int, ns: int) -> None:
        """A run in an engine's own thread took this long."""
        if ns <= _QUICK_NS and samples > self.most and time.monotonic() >= self._paused_until:
            self.most = samples

    def observe(self, ns: int) -> None:
        """A run in the caller's thread took this long."""
        self._runs += 1
        slow = ns > _QUICK_NS
        if self._slow_count:
            if len(self._slow) == _WINDOW and self._slow[0]:
                self._slow_count -= 1
        elif not slow:  # the window holds no slow run, and this is none
            return
        self._slow.append(slow)
        self._slow_count += slow
        if ns > _LONGEST_NS or self._slow_count > _SLOW_RUNS:
            self._take_back()

    def _take_back(self) -> None:
        if self._runs >= _LASTING:
            self._pause = _FIRST_PAUSE
        elif self._runs < _WINDOW:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self.most = 0
        self._paused_until = time.monotonic() + self._pause
        self._slow.clear()
        self._slow_count = self._runs = 0
