"""The parts that all connections of a server share, and the turns that they take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from enginecrate.server.http.router import RouteTable
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.statistics.http_statistics import HttpStatistics

__all__ = ["HttpLimits", "Shared"]

_BUFFER_BYTES = 64 * 1024
_TURNS = 8
"""Pipelined requests that are begun in one round of the loop."""


@dataclass(slots=True)
class HttpLimits:
    """Limits of requests. They may change while the server runs.

    max_body_bytes: before and after decompression.
    request_timeout_seconds: from the head to the answer.
    keep_alive_seconds: between two requests of a connection.
    """

    max_body_bytes: int
    request_timeout_seconds: float
    keep_alive_seconds: float


class Shared:
    """What the connections of a server share.

    buffer: for what is read before it is known what it is; each read is used up at once.
    """

    def __init__(
        self,
        routes: RouteTable,
        workers: Workers,
        pool: LeasePool,
        statistics: HttpStatistics,
        limits: HttpLimits,
    ) -> None:
        self.routes = routes
        self.workers = workers
        self.pool = pool
        self.statistics = statistics
        self.limits = limits
        self.draining = False
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._due: deque[Callable[[], None]] = deque()
        self._is_turning = False

    def take_turn(self, loop: asyncio.AbstractEventLoop, begin: Callable[[], None]) -> None:
        """Begin a request that came behind another one, a few of all connections at a time."""
        self._due.append(begin)
        if not self._is_turning:
            self._is_turning = True
            loop.call_soon(self._take_turns, loop)

    def _take_turns(self, loop: asyncio.AbstractEventLoop) -> None:
        """So many wait at most between two looks at what all other clients have sent."""
        for _ in range(min(_TURNS, len(self._due))):
            self._due.popleft()()
        self._is_turning = bool(self._due)
        if self._is_turning:
            loop.call_soon(self._take_turns, loop)
