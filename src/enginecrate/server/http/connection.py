"""One HTTP/1.1 connection: heads, bodies into memory that is lent, answers in one write.

Its limits:
- a head arrives within `HEAD_SECONDS`, and in `_HEAD_BYTES`,
- a body arrives, and its request is answered, within the request's time,
- requests behind the one that is answered are read only as far as one buffer, and begun one after
  the other, each when the answer before it has left,
- a client that does not read its answer is dropped after `_STALLED_SECONDS` without progress,
- the rest of a refused body is read and forgotten for `_DISCARD_SECONDS`, so that its sender sees
  the answer (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import cast

from enginecrate.errors import (
    BodyTooLarge,
    BodyTooSlow,
    MethodNotAllowed,
    ModelNotReady,
    QueueFull,
    RequestTimeout,
)
from enginecrate.server.http.answer_head import CONTINUE, encode_head
from enginecrate.server.http.body import decompress
from enginecrate.server.http.chunks import ChunkReader, ChunksInvalid, TrailerTooLarge
from enginecrate.server.http.error_answers import (
    api_of,
    error_response,
    forget_frames,
    plain_answer,
)
from enginecrate.server.http.exchange import Exchange
from enginecrate.server.http.head import HeadInvalid, RequestHead, malformed, parse_head
from enginecrate.server.http.messages import Response
from enginecrate.server.http.router import Match
from enginecrate.server.http.shared import Shared
from enginecrate.server.logs.request_log import log_request
from enginecrate.server.memory.leases import Lease
from enginecrate.server.scheduling.batch import Lease as HeldLease
from enginecrate.server.scheduling.client import Client

__all__ = ["CLIENT_GONE", "HEAD_SECONDS", "Connection"]

CLIENT_GONE = "the client closed its connection"
"""The message of the cancellation, as opposed to one because the server must end."""

HEAD_SECONDS = 10.0
_HEAD_BYTES = 64 * 1024
_KEPT_HEAD_BYTES = 4096
_STALLED_SECONDS = 30.0
_LINGER_SECONDS = 2.0
_DISCARD_SECONDS = 5.0
_SMALL_BODY = 64 * 1024
"""Bodies up to this size are bytes of their own: a lease costs more."""

_FIRST_LEASE = 2 * 1024 * 1024
"""Memory for a body whose head alone is there. A larger one gets more as it arrives, or a few
clients that announce bodies and send none would take all of it."""

_ALIGNMENT = 64

_TIME_IS_OVER = "the time of the request is over"
_STOPPING = "the server is stopping"
_NEVER = math.inf

_log = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection.

    deadline: on the clock of `time.monotonic`; the server calls `late` after it.
    """

    def __init__(self, shared: Shared, number: int, ended: Callable[[Connection], None]) -> None:
        """Begin with a transport of its own.

        Args:
            shared: by all connections.
            number: of this one, unique in the process.
            ended: called once, when it has ended.
        """
        self.deadline = time.monotonic() + HEAD_SECONDS
        self._shared = shared
        self._number = number
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport  # there is one before anything else is called
        self._client = Client("", number)
        self._unread = b""  # bytes that are not used up
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._last_head: tuple[bytes, RequestHead, Match] | None = None
        self._discarding = 0  # bytes of a refused body that may still come; -1: any number
        self._goes_on = False  # the connection is kept behind them
        self._is_turn_due = False  # the next request is there, and waits for the loop's next round
        self._closing = False  # nothing is taken any more
        self._full = False  # the client has not read what was sent
        self._stalled_bytes = 0
        self._held: HeldLease | None = None  # memory that is being sent

    # -- the transport's calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._shared.statistics.connected()
        self._transport.set_write_buffer_limits(
            high=0
        )  # `pause_writing` says that something is left
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._client = Client(str(peer[0]), self._number)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.deadline = _NEVER
        self._release_sent()
        task, exchange = self._task, self._exchange
        if task is not None:
            task.cancel(CLIENT_GONE)
        elif exchange is not None:
            self._exchange = None
            exchange.release()
            if not self._discarding:
                self._log(exchange, Response(499, (), log={"error": CLIENT_GONE}))
        self._ended(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        exchange = self._exchange
        if exchange is not None and exchange.view is not None and not exchange.whole:
            return exchange.view[exchange.received :]
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            if self._closing:
                return
            data = bytes(self._shared.buffer[:nbytes])
            if self._full or self._is_turn_due:  # the answer is taken first, then what came first
                self._unread += data
                self._pause()
            else:
                self._take(data)
        elif self._discarding:
            self._discard(nbytes)
        elif exchange.whole:  # a request behind the one that is answered
            self._unread += bytes(self._shared.buffer[:nbytes])
            self._pause()
        elif exchange.view is not None:
            exchange.received += nbytes
            if exchange.received == exchange.head.length:
                self._body_arrived(exchange, exchange.view)
            elif exchange.received == len(exchange.view):
                self._give_more(exchange)
        elif exchange.chunks is not None:
            data = bytes(self._shared.buffer[:nbytes])
            self._take_chunks(exchange, exchange.chunks, data)

    def eof_received(self) -> None:
        """The client sends nothing any more; it is taken for gone, as a closed one is."""

    def pause_writing(self) -> None:
        self._full = True
        self._stalled_bytes = self._transport.get_write_buffer_size()
        self.deadline = time.monotonic() + _STALLED_SECONDS

    def resume_writing(self) -> None:
        self._full = False
        self._release_sent()
        if self._exchange is None and not self._closing:
            if self._shared.draining:
                self._close()
            else:
                self._go_on()

    # -- deadlines and the end, called by the server --------------------------------------------

    def late(self) -> None:
        """The deadline has passed."""
        exchange, self.deadline = self._exchange, _NEVER
        if self._full:
            self._check_stalled()
        elif exchange is None or self._closing or self._discarding:
            if self._unread and not self._closing and exchange is None:
                self._refuse(
                    408, f"the request's head did not arrive within {HEAD_SECONDS:g} seconds"
                )
            else:  # nothing was sent, so no answer is expected
                self._close()
        elif not exchange.whole:
            self._fail(exchange, BodyTooSlow(
                f"the request's body did not arrive within {self._seconds:g} seconds (setting "
                "request_timeout_seconds); check that Content-Length is the length of the body"
            ))  # fmt: skip
        elif self._task is not None:
            self._task.cancel(_TIME_IS_OVER)

    def drain(self) -> None:
        """Close the connection when nothing runs on it; else after its answer."""
        if self._exchange is None and not self._full:
            self._close()

    def stop(self) -> None:
        """Refuse what still runs."""
        if self._task is not None:
            self._task.cancel(_STOPPING)
        elif self._exchange is not None and not self._discarding:
            self._fail(self._exchange, ModelNotReady(f"{_STOPPING}; send the request again"))
        else:
            self._close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._full:
            self._transport.abort()
        else:
            self._transport.close()

    # -- heads ----------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Bytes between two requests: of a head, and what follows it."""
        known = len(self._unread)
        if not known:
            data = data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data  # RFC 9112, section 2.2
            if not data:  # empty lines are no request, and give no time
                self._resume()
                return
            self.deadline = time.monotonic() + HEAD_SECONDS
        else:
            data = self._unread + data
        end = data.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            self._unread = data
            self._resume()
            self._check_begun(data, known)
            return
        head, self._unread = data[: end + 4], data[end + 4 :]
        if len(head) > _HEAD_BYTES:
            self._refuse_size()
            return
        try:
            self._begin(head)
        except HeadInvalid as exc:
            self._refuse(exc.status, str(exc))

    def _check_begun(self, data: bytes, known: int) -> None:
        """A head that cannot become one is refused before its end."""
        if len(data) >= _HEAD_BYTES:
            self._refuse_size()
            return
        if data.count(b"\n", known) != data.count(b"\r\n", max(0, known - 1)):
            self._refuse(400, str(malformed()))  # its end would never be found
            return
        line = data.find(b"\n", max(0, known - 1))
        if line >= 0 and data.find(b"\n") == line:  # the first line is there now
            begun = data[: line + 1] + b"host: x\r\n\r\n"
        elif not known and not _may_begin(data):
            begun = data + b"\r\n\r\n"
        else:
            return
        try:
            parse_head(begun)
        except HeadInvalid as exc:
            self._refuse(exc.status, str(exc))

    def _begin(self, data: bytes) -> None:
        last = self._last_head
        known = last is not None and last[0] == data  # clients repeat themselves
        head = last[1] if last is not None and known else parse_head(data)
        exchange = self._exchange = Exchange(head)
        self.deadline = time.monotonic() + self._seconds
        try:
            if last is not None and known:
                exchange.match = last[2]
            else:
                exchange.match = self._shared.routes.match(head.method, head.path)
                if len(data) <= _KEPT_HEAD_BYTES:
                    self._last_head = (data, head, exchange.match)
            admit = exchange.match.route.admit
            if admit is not None:
                admit(head, self._client)
            if head.has_body:
                self._begin_body(exchange)
            else:
                self._run(exchange)
        except MethodNotAllowed as exc:
            self._fail(exchange, exc, allow=self._shared.routes.allowed(head.path))
        except Exception as exc:  # the border: the client gets an answer to every error
            self._fail(exchange, exc)

    # -- bodies ---------------------------------------------------------------------------------

    def _begin_body(self, exchange: Exchange) -> None:
        length, limit = exchange.head.length, self._shared.limits.max_body_bytes
        data = self._unread
        if length is not None and length > limit:
            raise BodyTooLarge(
                f"the body has {length} bytes; at most {limit} are taken (setting max_body_bytes)"
            )
        if length is not None and len(data) >= length:
            exchange.body, self._unread = data[:length], data[length:]
            exchange.whole = True
            self._run(exchange)
            return
        self._unread = b""
        self._resume()
        if exchange.head.expects_continue and not data:
            self._transport.write(CONTINUE)
        if length is None:
            exchange.chunks = ChunkReader(lambda piece: self._take_piece(exchange, piece))
            if data:
                self._take_chunks(exchange, exchange.chunks, data)
            return
        exchange.received = len(data)
        if length <= _SMALL_BODY:
            exchange.view = memoryview(bytearray(length))
        else:
            first = length if length <= _FIRST_LEASE else max(_FIRST_LEASE, 2 * len(data))
            exchange.lease = self._shared.pool.lease(min(length, first), _lead(exchange.head))
            exchange.view = exchange.lease.view
        exchange.view[: len(data)] = data

    def _give_more(self, exchange: Exchange) -> None:
        """Memory for the rest of a body, or for some of it: no more than has arrived."""
        try:
            self._enlarge(exchange, min(exchange.head.length or 0, 4 * exchange.received))
        except Exception as exc:  # the border: the client gets an answer to every error
            self._fail(exchange, exc)

    def _enlarge(self, exchange: Exchange, size: int) -> None:
        """Move what there is of a body into a larger lease."""
        lease, received = exchange.lease, exchange.received
        have = lease.view[:received] if lease is not None else memoryview(b"")
        try:
            larger = self._shared.pool.lease(size, _lead(exchange.head))
        except QueueFull:  # there may be room for one of them, not for both
            if lease is None:
                raise
            have, exchange.lease = memoryview(bytes(have)), None
            lease.release()
            lease = None
            larger = self._shared.pool.lease(size, _lead(exchange.head))
        larger.view[:received] = have[:received]
        if lease is not None:
            lease.release()
        exchange.lease = larger
        if exchange.view is not None:
            exchange.view = larger.view

    def _body_arrived(self, exchange: Exchange, view: memoryview) -> None:
        exchange.body = view if exchange.lease is not None else bytes(view)
        exchange.view = None
        exchange.whole = True
        self._run(exchange)

    def _take_chunks(self, exchange: Exchange, chunks: ChunkReader, data: bytes) -> None:
        try:
            used = chunks.feed(data)
        except ChunksInvalid:
            self._refuse(400, "the request is not valid HTTP/1.1; check the chunks of its body")
            return
        except TrailerTooLarge:
            self._refuse_size()
            return
        except Exception as exc:  # the border: the client gets an answer to every error
            self._fail(exchange, exc)
            return
        if chunks.is_done:
            self._unread = data[used:]
            if exchange.lease is not None:
                exchange.body = exchange.lease.view[: exchange.received]
            exchange.whole = True
            self._run(exchange)

    def _take_piece(self, exchange: Exchange, piece: memoryview) -> None:
        """Part of a body in chunks: memory grows with it."""
        limit = self._shared.limits.max_body_bytes
        needed = exchange.received + len(piece)
        if needed > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes (setting max_body_bytes)")
        if exchange.lease is None or needed > len(exchange.lease.view):
            self._enlarge(exchange, min(limit, max(_SMALL_BODY, 2 * needed)))
        cast(Lease, exchange.lease).view[exchange.received : needed] = piece
        exchange.received = needed

    # -- requests and answers -------------------------------------------------------------------

    def _run(self, exchange: Exchange) -> None:
        """The body is there: answer the request, at once where its route can."""
        if not self._unread:  # what comes is the next request, or the client's end
            self._resume()
        route = exchange.match.route
        coding = exchange.head.headers.get("content-encoding")
        if route.quick is not None and coding is None:
            request = exchange.request(self._client)
            try:
                response = route.quick(request)
            except Exception as exc:
                self._fail(exchange, exc)
                return
            if response is not None:
                self._answer(exchange, response)
                return
        self._task = self._loop.create_task(self._handle(exchange, coding))

    async def _handle(self, exchange: Exchange, coding: str | None) -> None:
        taken = 0
        try:
            if coding is not None:
                taken = await self._decompress(exchange, coding)
            request = exchange.request(self._client)
            response = await exchange.match.route.handler(request)
        except asyncio.CancelledError as exc:
            self._task = None
            self._cancelled(exchange, exc.args)
            return
        except Exception as exc:  # the border: the client gets an answer to every error
            self._task = None
            self._fail(exchange, exc)
            return
        finally:
            self._shared.pool.give_back(taken)
        self._task = None
        self._answer(exchange, response)

    async def _decompress(self, exchange: Exchange, coding: str) -> int:
        limit = self._shared.limits.max_body_bytes
        work = self._shared.workers.submit_aside(
            self._client, decompress, bytes(exchange.body), coding, limit
        )
        body = await asyncio.wrap_future(work)
        self._shared.pool.take(len(body))
        exchange.release()
        exchange.body = body
        return len(body)

    def _cancelled(self, exchange: Exchange, reasons: tuple[object, ...]) -> None:
        if CLIENT_GONE in reasons:
            self._exchange = None
            exchange.release()
            self._log(exchange, Response(499, (), log={"error": CLIENT_GONE}))
        elif _TIME_IS_OVER in reasons:
            self._fail(exchange, RequestTimeout(
                f"the request was not done within {self._seconds:g} seconds (setting "
                "request_timeout_seconds); try again when the server is less busy"
            ))  # fmt: skip
        else:
            self._fail(exchange, ModelNotReady(f"{_STOPPING}; send the request again"))

    def _fail(self, exchange: Exchange, error: BaseException, *, allow: str = "") -> None:
        """Answer an error. A body that has not arrived is read, and forgotten, afterwards."""
        response = error_response(error, api_of(exchange.head.path), exchange.request_id)
        if isinstance(error, QueueFull):
            self._shared.statistics.refused(error.reason)
        forget_frames(error)
        if allow:
            response.headers = (*response.headers, ("allow", allow))
        length, keep = exchange.head.length, self._may_go_on(exchange, error)
        if length is not None and not exchange.whole and exchange.received == 0:
            dropped = min(length, len(self._unread))
            self._unread, exchange.received = self._unread[dropped:], dropped
            exchange.whole = keep and dropped == length
        if exchange.whole:
            self._answer(exchange, response)
            return
        self._goes_on = keep
        self._discarding = -1 if length is None else length - exchange.received
        self._resume()
        self._send(exchange, response, close=not keep)
        exchange.release()
        if isinstance(error, BodyTooSlow) or not self._discarding:
            self._exchange = None
            self._discarding = 0
            self._end()
        elif not self._full:
            self.deadline = time.monotonic() + _DISCARD_SECONDS

    def _may_go_on(self, exchange: Exchange, error: BaseException) -> bool:
        """A request that is refused for now costs its client no connection."""
        head = exchange.head
        for_now = isinstance(error, (QueueFull, ModelNotReady))
        bounded = head.length is not None and head.length <= self._shared.limits.max_body_bytes
        continued = head.expects_continue and not exchange.received and not self._unread
        return for_now and bounded and head.keep_alive and not continued and not self._ends

    def _discard(self, size: int) -> None:
        if self._discarding < 0:
            return
        self._discarding -= size
        if self._discarding > 0:
            return
        if self._discarding < 0 and self._goes_on:  # what follows it belongs to the next request
            self._unread = bytes(self._shared.buffer[size + self._discarding : size])
        self._discarding = 0
        self._exchange = None
        if not self._goes_on or self._ends:
            self._end()
        elif not self._full:
            self._go_on()

    def _answer(self, exchange: Exchange, response: Response) -> None:
        """Send the answer to a request whose body was read, and go on with the connection."""
        close = not exchange.head.keep_alive or self._ends
        if self._unread and not _may_begin(self._unread.lstrip(b"\r\n")):
            close = True  # what follows is no request; this one was sound
        self._send(exchange, response, close=close)
        exchange.release()
        self._exchange = None
        if close:
            self._end()
        elif not self._full:
            self._go_on()

    def _send(self, exchange: Exchange, response: Response, *, close: bool) -> None:
        transport = self._transport
        if transport.is_closing():
            if response.lease is not None:
                response.lease.release()
            self._log(exchange, response)
            return
        self._shared.statistics.answered(response.status)
        head = encode_head(response, exchange.request_id, close=close)
        self._held = response.lease
        if exchange.head.method == "HEAD" or not response.body:
            transport.write(head)
        elif len(response.body) == 1 and len(response.body[0]) < _SMALL_BODY:
            transport.write(head + response.body[0])
        else:
            transport.writelines([head, *response.body])
        if not self._full:
            self._release_sent()
        self._log(exchange, response)

    def _release_sent(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def _go_on(self) -> None:
        """The next request: what is there of it, and the time for the rest."""
        if self._unread:  # more is read when it is used up
            self.deadline = time.monotonic() + HEAD_SECONDS
            self._is_turn_due = True
            self._shared.take_turn(self._loop, self._take_unread)
        else:
            self._resume()
            self.deadline = time.monotonic() + self._shared.limits.keep_alive_seconds

    def _take_unread(self) -> None:
        self._is_turn_due = False
        if self._exchange is None and self._unread and not self._closing and not self._full:
            data, self._unread = self._unread, b""
            self._take(data)

    # -- refusals and the end of the connection -------------------------------------------------

    def _refuse_size(self) -> None:
        self._refuse(431, f"the request's head or trailer is larger than {_HEAD_BYTES} bytes")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer a request that never reaches a route, and close the connection."""
        _log.info("refused a connection's request: %s", detail)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.release()
        transport = self._transport
        if transport.is_closing():
            self._closing = True
            return
        transport.write(plain_answer(status, detail))
        self._end()

    def _end(self) -> None:
        """Send nothing more, and close when the client has.

        A client that is still sending would lose the answer if the connection were reset now
        (RFC 9112, section 9.6). A server that ends does not wait for it.
        """
        transport = self._transport
        if transport.is_closing() or self._shared.draining:
            self._close()
            return
        self._closing = True
        self._unread = b""
        self._resume()
        if transport.can_write_eof():
            transport.write_eof()
        if not self._full:
            self.deadline = time.monotonic() + _LINGER_SECONDS

    def _check_stalled(self) -> None:
        now = self._transport.get_write_buffer_size()
        if now >= self._stalled_bytes:
            _log.info("dropped a client that did not read its answer")
            self._transport.abort()
        else:
            self._stalled_bytes = now
            self.deadline = time.monotonic() + _STALLED_SECONDS

    def _close(self) -> None:
        self._closing = True
        self._transport.close()

    def _pause(self) -> None:
        if self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._transport.is_reading():
            self._transport.resume_reading()

    @property
    def _ends(self) -> bool:
        """No other request is taken."""
        return self._closing or self._shared.draining

    @property
    def _seconds(self) -> float:
        return self._shared.limits.request_timeout_seconds

    def _log(self, exchange: Exchange, response: Response) -> None:
        head = exchange.head
        log_request(
            head.method, head.path, response.status, time.perf_counter() - exchange.arrived,
            exchange.request_id, exchange.trace, response.log,
        )  # fmt: skip


def _lead(head: RequestHead) -> int:
    """Bytes in front of a body, so that binary data behind its JSON is aligned and not copied."""
    text = head.headers.get("inference-header-content-length", "")
    return -int(text) % _ALIGNMENT if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _may_begin(data: bytes) -> bool:
    """Bytes that may be the begin of a request line."""
    return not data or (data[:1].isalpha() and data[:32].isascii())
