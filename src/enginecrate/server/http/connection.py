"""One HTTP/1.1 connection: uvicorn's, with the limits that it lacks.

uvicorn closes idle connections, but waits forever for a request's head to end, keeps any number
of headers, and answers malformed HTTP with three words. Here
- a head must arrive within `HEAD_SECONDS` and in `_HEAD_BYTES`,
- a client that does not read its answer is dropped after `_STALLED_SECONDS` without progress,
- a body is handed over in large pieces rather than one wake-up for each packet, and an answer's
  head is sent together with its body,
- the work for a client that has gone is cancelled,
- malformed HTTP gets a sentence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["CLIENT_GONE", "HEAD_SECONDS", "Connection"]

CLIENT_GONE = "the client closed its connection"
"""The message of the cancellation, as opposed to one because the server must end."""

HEAD_SECONDS = 10.0
_HEAD_BYTES = 64 * 1024
_STALLED_SECONDS = 30.0
_LINGER_SECONDS = 2.0
_BODY_PIECE_BYTES = 1024 * 1024

_STATUS_LINE = b"HTTP/1.1 "
_CONTINUE = b"HTTP/1.1 100"

_log = logging.getLogger(__name__)

_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
}


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with more limits. `uvicorn.Config(http=Connection)` uses it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asgi_app = self.app
        self.app = self._run
        self._work: asyncio.Task[None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_message = False
        self._silent_bytes = 0
        self._refused = False
        self._stalled_timer: asyncio.TimerHandle | None = None

    async def _run(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        task = self._work = asyncio.current_task()
        try:
            await self._asgi_app(scope, receive, send)
        except asyncio.CancelledError as exc:
            if CLIENT_GONE not in exc.args:
                raise
        finally:
            if self._work is task:
                self._work = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._joined = _JoinedWrites(transport)
        self.transport = self._joined  # type: ignore[assignment]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._cancel_stalled()
        super().connection_lost(exc)
        if self._work is not None:
            self._work.cancel(CLIENT_GONE)

    def data_received(self, data: bytes) -> None:
        if len(data) > _HEAD_BYTES and not self._in_message:
            # In pieces, or a head that arrives all at once would end before it is counted.
            self.data_received(data[:_HEAD_BYTES])
            data = data[_HEAD_BYTES:]
            if not self.transport.is_closing():
                self.data_received(data)
            return
        if self._refused:
            return
        if not self._in_message and self._head_timer is None:
            self._await_head()
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
        if max(self._head_bytes, self._silent_bytes) > _HEAD_BYTES:
            self._refuse(431, f"the request's head or trailer is larger than {_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:  # it began in the same packet in which another one ended
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_message:  # trailers are read and forgotten
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_arrived()
        self._in_message = True
        self._silent_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body = _joined(cycle.body, body)
        if len(cycle.body) > _BODY_PIECE_BYTES:
            self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_message = False
        self._silent_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._joined.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "the request is not valid HTTP/1.1; check its first line and headers")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stalled(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_stalled()

    def _unsupported_upgrade_warning(self) -> None:
        _log.debug("a client asked for a protocol upgrade; it is answered in HTTP/1.1")

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_arrived(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if self._head_bytes:
            self._refuse(408, f"the request's head did not arrive within {HEAD_SECONDS:g} seconds")
        else:  # nothing was sent, so no answer is expected
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer a request that never reaches a route, and close the connection."""
        self._head_arrived()
        cycle = self.cycle
        if self._refused or self.transport.is_closing():
            return
        _log.info("refused a connection's request: %s", detail)
        if cycle is not None and not cycle.response_complete:
            if not self._in_message:  # only what follows a sound request is bad: answer that one
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True
        self._refused = True
        self._joined.write(_plain_answer(status, detail))
        self._joined.flush()
        # A client that is still sending would lose the answer if the connection were reset now.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _watch_stalled(self, size: int) -> None:
        self._cancel_stalled()
        self._stalled_timer = self.loop.call_later(_STALLED_SECONDS, self._check_stalled, size)

    def _check_stalled(self, before: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now >= before:
            _log.info("dropped a client that did not read its answer")
            self.transport.abort()
        else:
            self._watch_stalled(now)

    def _cancel_stalled(self) -> None:
        if self._stalled_timer is not None:
            self._stalled_timer.cancel()
            self._stalled_timer = None


class _JoinedWrites:
    """A transport that sends an answer's head together with its body.

    uvicorn writes them one after the other, and uvloop sends each at once: two system calls, two
    packets, and a client that wakes up twice. Here a head is held until the next write, `flush` or
    `close`.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, or hold them when they are an answer's head."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif bytes(data[:9]) == _STATUS_LINE and bytes(data[:12]) != _CONTINUE:
            self._head = bytes(data)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _joined(have: bytes | bytearray, more: bytes) -> Any:
    """Both together. Most bodies come whole, and are not copied then."""
    if not have:
        return more
    if isinstance(have, bytes):
        have = bytearray(have)
    have += more
    return have


def _plain_answer(status: int, detail: str) -> bytes:
    """An answer in both formats at once, since the path is not known."""
    title = _PHRASES[status]
    problem = {
        "type": "about:blank",
        "title": title.decode(),
        "status": status,
        "detail": detail,
        "error": detail,
    }
    body = msgspec.json.encode(problem)
    head = (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n"
    ) % (status, title, len(body))
    return head + body
