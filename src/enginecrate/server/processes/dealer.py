"""The dealer of connections: accepts them, and hands each to the front end with the fewest.

The listening sockets belong to the supervisor, without SO_REUSEPORT: a second server on the same
port is refused, and the end of a front end resets only what that one has taken. A connection stays
open here until its front end says that it has it, so that none is lost on its way.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from enginecrate.server.processes.children import Child
from enginecrate.server.processes.control import Connection

__all__ = ["Dealer"]

_AT_ONCE = 64
"""Connections that are accepted before anything else is looked at."""

_SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.1

_RESERVE = 64
"""Descriptors, or a quarter of them if that is more, that a process keeps for other things than
connections: channels, arenas, pictures that are decoded. A process that has none left loses what
is handed to it, and with it its control channel."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Hand:
    """A front end's connections: how many it has, and those that are on their way to it."""

    child: Child
    connections: int = 0
    untaken: deque[socket.socket] = field(default_factory=deque)


class Dealer:
    """Deals connections in the running loop. Without an open front end they wait in the kernel."""

    def __init__(self, listeners: Sequence[socket.socket], most: int = 0) -> None:
        """Nothing is accepted yet.

        Args:
            listeners: they belong to the dealer from now on.
            most: connections of one front end; 0: as its descriptors allow. More of them wait in
                the kernel.
        """
        self._listeners = list(listeners)
        self._most = most or _most_connections()
        self._hands: dict[int, _Hand] = {}
        self._accepting = False
        self._short = False

    @property
    def open_count(self) -> int:
        """Front ends that take connections."""
        return len(self._hands)

    def counts(self) -> dict[int, int]:
        """Connections of each front end, by its number."""
        return {number: hand.connections for number, hand in self._hands.items()}

    def add(self, child: Child) -> None:
        """A front end takes connections from now on."""
        self._hands[child.number] = _Hand(child)
        self._watch()

    def remove(self, child: Child) -> None:
        """A front end has ended. What it had not taken goes to the others."""
        hand = self._hands.get(child.number)
        if hand is None or hand.child is not child:
            return
        del self._hands[child.number]
        self._watch()
        for connection in hand.untaken:
            if self._has_room():
                self._deal(connection)
            else:
                connection.close()

    def taken(self, child: Child) -> None:
        """A front end has the oldest connection that was handed to it."""
        hand = self._hands.get(child.number)
        if hand is not None and hand.child is child and hand.untaken:
            hand.untaken.popleft().close()
            self._watch()

    def closed(self, child: Child, count: int) -> None:
        """Connections of a front end have ended."""
        hand = self._hands.get(child.number)
        if hand is not None and hand.child is child:
            hand.connections = max(0, hand.connections - count)
            self._watch()

    def stop(self) -> None:
        """Deal what waits, and listen no more."""
        if self._hands:
            for listener in self._listeners:
                while self._accept(listener):
                    pass
        self._unwatch()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _watch(self) -> None:
        """Accept while a front end has room."""
        wanted = self._has_room() and not self._short
        if wanted and not self._accepting:
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.add_reader(listener, self._accept_some, listener)
            self._accepting = True
        elif not wanted:
            self._unwatch()

    def _has_room(self) -> bool:
        """Whether a front end may have one more. What is on its way takes two descriptors here."""
        untaken = sum(len(hand.untaken) for hand in self._hands.values())
        return untaken * 2 < self._most and any(
            hand.connections < self._most for hand in self._hands.values()
        )

    def _unwatch(self) -> None:
        if self._accepting:
            loop = asyncio.get_running_loop()
            for listener in self._listeners:
                loop.remove_reader(listener)
            self._accepting = False

    def _accept_some(self, listener: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if not self._accept(listener):
                return

    def _accept(self, listener: socket.socket) -> bool:
        """Accept a connection and deal it; `False`: there is none, or no room for it."""
        if not self._has_room():
            self._watch()
            return False
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if exc.errno in _SHORT_OF:
                self._pause(exc)
                return False
            return True  # the client has left meanwhile
        self._deal(connection)
        return True

    def _deal(self, connection: socket.socket) -> None:
        hand = min(self._hands.values(), key=lambda each: each.connections)
        hand.connections += 1
        hand.untaken.append(connection)
        hand.child.send(Connection(), [connection.fileno()])

    def _pause(self, error: OSError) -> None:
        """No descriptors or memory are left: leave connections in the kernel for a moment."""
        if self._short:
            return
        _log.error("connections have to wait: %s", error.strerror)
        self._short = True
        self._watch()
        asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._short = False
        self._watch()


def _most_connections() -> int:
    """Connections of one process, by its limit of descriptors, which all processes inherit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return max(1, limit - max(_RESERVE, limit // 4))
