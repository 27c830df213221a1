"""A kept-alive HTTP/1.1 connection of the load, with as little work per request as possible.

A general client takes about as much time as the server does, and a load tool on the same machine
must not measure itself. So requests are made before, answers are read into one buffer that is used
again, and only two things are looked up in a head: its status and the length of the body.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, cast

__all__ = ["Load", "LoadConnection"]

_BUFFER = 65536
_MOST_HEAD = 65536
_LENGTHS = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class Load(Protocol):
    """The side of the load that connections talk to."""

    def connected(self, connection: LoadConnection) -> None: ...
    def answered(
        self, connection: LoadConnection, buffer: bytearray, body: int, end: int
    ) -> None: ...
    def lost(self, connection: LoadConnection, reason: str) -> None: ...


class LoadConnection(asyncio.BufferedProtocol):
    """One connection with one request at a time.

    started: when the request's latency begins. sent: when it was written; 0 while none is under
    way. payload: its number. counted: whether it belongs to the measurement.
    """

    __slots__ = (
        "_body", "_buffer", "_close", "_end", "_filled", "_load", "_reason", "_transport", "_view",
        "counted", "payload", "sent", "started",
    )  # fmt: skip

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._transport: asyncio.Transport | None = None
        self._filled = self._body = self._end = 0
        self._close = False
        self._reason = ""
        self.started = self.sent = self.payload = 0
        self.counted = False

    def send(self, request: bytes, payload: int, started: int, sent: int, counted: bool) -> None:
        """Write a request."""
        self.payload, self.started, self.sent, self.counted = payload, started, sent, counted
        self._filled = self._end = 0
        if self._transport is not None:
            self._transport.write(request)

    def abort(self, reason: str) -> None:
        """Close the connection at once; `lost` follows with this reason."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    @property
    def closing(self) -> bool:
        """True when the server has said that this answer is the last one here."""
        return self._close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class
        self._load.connected(self)

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        return self._view[self._filled :] if self._filled else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        filled = self._filled = self._filled + nbytes
        if not self._end and not self._read_head(filled):
            return
        end = self._end
        if filled < end:
            return
        if filled > end or not self.sent:
            self.abort("the server sends more than it was asked for")
            return
        self._load.answered(self, self._buffer, self._body, end)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        words = self._reason or getattr(exc, "strerror", None) or (str(exc) if exc else "")
        self._load.lost(self, words or "the server closed the connection without an answer")

    def _read_head(self, filled: int) -> bool:
        """False while it is not whole, or when it is none."""
        buffer = self._buffer
        head = buffer.find(b"\r\n\r\n", 0, filled)
        if head < 0:
            if filled >= _MOST_HEAD:
                self.abort("what came is no HTTP/1.1 answer")
            return False
        if not buffer.startswith(b"HTTP/1."):
            self.abort("what came is no HTTP/1.1 answer")
            return False
        length = _content_length(buffer, head + 2)
        if length < 0:
            self.abort("the answer has no content-length")
            return False
        self._close = (
            buffer.find(b"lose", 0, head) > 0 and _CLOSE.search(buffer, 0, head) is not None
        )
        self._body = head + 4
        self._end = self._body + length
        if self._end > len(buffer):
            self._grow(filled)
        return True

    def _grow(self, filled: int) -> None:
        # A new one: the transport still holds the old one.
        larger = bytearray(self._end)
        larger[:filled] = self._view[:filled]
        self._buffer = larger
        self._view = memoryview(larger)


def _content_length(buffer: bytearray, head: int) -> int:
    """The length that a head announces; -1 without one."""
    for name in _LENGTHS:
        at = buffer.find(name, 0, head)
        if at >= 0:
            digits = buffer[at + len(name) : buffer.find(b"\r", at + len(name), head)]
            if digits.isdigit() and len(digits) < 19:
                return int(digits)
    found = _LENGTH.search(buffer, 0, head)
    return int(found[1]) if found else -1
