"""Lines of log files on their way from a child to the supervisor, which alone writes files.

A datagram has whole lines, so that lines of several processes never mix. A supervisor that is slow
never stops a child: lines that find no room are counted, and the next line says how many.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

from enginecrate.server.logs.lines import LineHandler, pieces

__all__ = ["MAX_LINE_BYTES", "LineReader", "LineSocket"]

MAX_LINE_BYTES = 1 << 16
_PIECE_BYTES = 1 << 14
_SOCKET_BYTES = 1 << 20


class LineSocket(LineHandler):
    """Sends lines, as many at a time as there are."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of a datagram socket, from `LineReader`; it stays open."""
        super().__init__()
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._lost = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Send lines; those that cannot be sent are counted."""
        for piece in pieces(lines, _PIECE_BYTES):
            try:
                if self._lost:
                    self._socket.send(self.format(self._loss()).encode())
                    self._lost = 0
                self._socket.send(b"\n".join(piece)[:MAX_LINE_BYTES])
            except OSError:
                self._lost += len(piece)

    def _loss(self) -> logging.LogRecord:
        words = f"lines of this log are lost: {self._lost}"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None)


class LineReader:
    """The supervisor's end: takes the lines of all children.

    descriptor: what each child is given.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        """`write`: called with one line or several, without the last end."""
        self._write = write
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        for end in (self._ours, self._theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        self.descriptor = self._theirs.fileno()

    def start(self) -> None:
        """Read from now on, in the running loop."""
        asyncio.get_running_loop().add_reader(self._ours, self.read)

    def read(self) -> None:
        """Take every line that is there."""
        while True:
            try:
                line = self._ours.recv(MAX_LINE_BYTES)
            except OSError:  # there is none
                return
            self._write(line.decode("utf-8", "replace"))

    def close(self) -> None:
        """Take what is left, and close both ends."""
        self.read()
        self._ours.close()
        self._theirs.close()
