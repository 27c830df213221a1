"""The memory that decoding photos may take at once, of all that this process may have."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from enginecrate.builder.plans.memory import free_bytes

__all__ = ["MemoryBudget"]

_RESERVE = 0.2
"""Part of the free memory that is left alone: bodies, tensors, answers, fragments."""

_LEAST_BYTES = 1 << 20

_MEASURE_SECONDS = 1.0
"""What is left is measured so often at most."""

_WINDOW_SECONDS = 30.0
"""As long as a request, so that a costly photo that is decoded now does not count as lost."""


class MemoryBudget:
    """Counts bytes that are taken before they are used. Thread-safe.

    Without a limit it is what the machine or the container had left at best in the last minute:
    what is held now, here or by another process of the server, is not left at the moment.
    """

    def __init__(
        self, limit: int = 0, *, share: float = 1.0, measure: Callable[[], int] = free_bytes
    ) -> None:
        """Make a budget.

        Args:
            limit: in bytes, for the whole server; 0: as much as is left.
            share: the part of it that this budget has, where several processes each have one.
            measure: the bytes that are left; 0: unknown.
        """
        self._is_fixed = limit > 0
        self._share = share
        self._measure = measure
        self._limit = int(limit * share)
        self._held = 0
        self._left = _Highest(_WINDOW_SECONDS)
        self._measured = -math.inf
        self._freed: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return self._held

    def limit(self) -> int:
        """The most that may be held together; 0: nobody knows, and everything fits."""
        with self._lock:
            return self._refreshed()

    def on_freed(self, call: Callable[[], None]) -> None:
        """Call this whenever bytes were given back."""
        self._freed.append(call)

    def try_take(self, size: int) -> bool:
        """Take bytes, if they fit now. While nothing is held anything fits, or it would never."""
        if not size:
            return True
        with self._lock:
            limit = self._refreshed()
            if limit and self._held and self._held + size > limit:
                return False
            self._held += size
            return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        if not size:
            return
        with self._lock:
            self._held -= size
        for call in self._freed:
            call()

    def _refreshed(self) -> int:
        now = time.monotonic()
        if not self._is_fixed and now - self._measured >= _MEASURE_SECONDS:
            self._measured = now
            left = self._left.note(self._measure(), now)
            if left or self._limit:  # it was known before, so nothing is left now
                self._limit = max(int(left * (1 - _RESERVE) * self._share), _LEAST_BYTES)
        return self._limit


class _Highest:
    """The highest of the values of one to two windows of time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = -math.inf
        self._now = self._before = 0

    def note(self, value: int, moment: float) -> int:
        """Take a value, and give the highest."""
        if moment - self._began >= self._seconds:
            self._began, self._before, self._now = moment, self._now, 0
        self._now = max(self._now, value)
        return max(self._now, self._before)
