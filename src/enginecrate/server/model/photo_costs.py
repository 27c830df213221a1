"""Costs of photos, learnt from photos: how long each keeps the threads and the engines busy."""

from __future__ import annotations

import time
from collections import deque

from enginecrate.server.scheduling.costs import RunCosts

__all__ = ["PhotoCosts"]

_FIRST_DECODE_SECONDS = 0.005
_WINDOW = 64
"""Photos whose rate counts: they begin in bursts, a batch at a time."""

_FEW = 8
_LONGEST_PAUSE = 1.0
"""A longer time between two photos is no measure of how soon the next one could begin."""


class PhotoCosts:
    """Estimates for the next photo. May be told from any thread: each note is one assignment.

    While photos wait, the time between two that begin says best how long the next one will wait
    for each before it: all that shares the machine is in it.
    """

    def __init__(self) -> None:
        self._decode = RunCosts()
        self._engine = RunCosts()
        self._has_decoded = False
        self._has_run = False
        self._pauses: deque[float] = deque(maxlen=_WINDOW)
        self._last = 0.0
        self._others_waited = False

    def begin(self, *, others_wait: bool) -> None:
        """A photo begins to be decoded. `others_wait`: more will as soon as they may."""
        now = time.monotonic()
        pause = now - self._last
        if self._others_waited and pause < _LONGEST_PAUSE:
            self._pauses.append(pause)
        self._last, self._others_waited = now, others_wait

    def decoded(self, ns: int) -> None:
        """A photo was decoded and prepared in this time."""
        self._decode.observe(1, ns / 1e9)
        self._has_decoded = True

    def computed(self, ns: int) -> None:
        """An engine was busy with a photo for this time, its part of a batch."""
        self._engine.observe(1, ns / 1e9)
        self._has_run = True

    @property
    def engine_seconds(self) -> float:
        """How long an engine is busy with a photo; 0 before the first one."""
        return self._engine.seconds(1) if self._has_run else 0.0

    def seconds(self, threads: int, instances: int) -> float:
        """How much longer one photo before it lets another one wait."""
        decode = self._decode.seconds(1) if self._has_decoded else _FIRST_DECODE_SECONDS
        own = max(decode / threads, self.engine_seconds / instances)
        pauses = list(self._pauses)
        return max(own, sum(pauses) / len(pauses)) if len(pauses) >= _FEW else own
