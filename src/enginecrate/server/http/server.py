"""The HTTP server: what all connections of a process share, their clock, and their end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from socket import socket

from enginecrate.server.http.connection import Connection
from enginecrate.server.http.router import RouteTable
from enginecrate.server.http.shared import HttpLimits, Shared
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.statistics.http_statistics import HttpStatistics

__all__ = ["HttpServer"]

_TICK_SECONDS = 0.1


class HttpServer:
    """Makes the protocol of each connection, and ends them all. It lives in the loop's thread.

    on_closed: called with each connection that has ended.
    """

    def __init__(
        self,
        routes: RouteTable,
        workers: Workers,
        pool: LeasePool,
        statistics: HttpStatistics,
        limits: HttpLimits,
    ) -> None:
        """Needs a running loop only when the first connection comes.

        Args:
            routes: every path.
            workers: threads that undo a body's compression.
            pool: memory for bodies.
            statistics: of this process.
            limits: of requests.
        """
        self.on_closed: Callable[[], None] | None = None
        self._shared = Shared(routes, workers, pool, statistics, limits)
        self._connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def protocol(self) -> Connection:
        """The protocol of a new connection: for `create_server`, `connect_accepted_socket`."""
        connection = Connection(self._shared, next(self._numbers), self._ended)
        self._connections.add(connection)
        self._empty.clear()
        if self._timer is None:
            self._tick()
        return connection

    async def listen(self, listeners: Sequence[socket], backlog: int) -> list[asyncio.Server]:
        """Accept on listening sockets from now on."""
        loop = asyncio.get_running_loop()
        return [
            await loop.create_server(self.protocol, sock=each, backlog=backlog)
            for each in listeners
        ]

    async def drain(self, seconds: float) -> bool:
        """Answer what runs, and close every connection; what is left after the time is refused.

        Returns:
            Whether everything was answered.
        """
        self._shared.draining = True
        for connection in list(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.stop()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for connection in list(self._connections):
                connection.abort()
            return False
        return True

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        if self.on_closed is not None:
            self.on_closed()

    def _tick(self) -> None:
        """One timer for all connections is cheaper than one for each request."""
        now = time.monotonic()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.late()
        self._timer = None
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
