"""From ASGI to `Request` and `Response`: limits, deadlines, errors, the request's log line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from enginecrate.errors import (
    BodyTooSlow,
    EnginecrateError,
    MethodNotAllowed,
    ModelNotReady,
    QueueFull,
    RequestTimeout,
)
from enginecrate.server.http.body import BodyBudget, ClientGone, decompress, discard_body, read_body
from enginecrate.server.http.connection import CLIENT_GONE
from enginecrate.server.http.error_answers import api_of, error_response
from enginecrate.server.http.messages import Request, Response
from enginecrate.server.http.router import RouteTable
from enginecrate.server.http.workers import Workers
from enginecrate.server.logs.request_log import log_request
from enginecrate.server.scheduling.client import Client
from enginecrate.server.statistics.http_statistics import HttpStatistics

__all__ = ["AsgiApp"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DISCARD_SECONDS = 5.0
"""Time for reading the rest of a refused body before the connection is closed."""

_log = logging.getLogger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class AsgiApp:
    """The ASGI application. It lives in the event loop's thread."""

    def __init__(
        self,
        routes: RouteTable,
        workers: Workers,
        statistics: HttpStatistics,
        *,
        max_body_bytes: int,
        request_timeout_seconds: float,
    ) -> None:
        self._routes = routes
        self._workers = workers
        self._statistics = statistics
        self._budget = BodyBudget(max_body_bytes)
        self._timeout = request_timeout_seconds

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send, self._statistics)
        held = 0
        try:
            async with asyncio.timeout(self._timeout):
                match = self._routes.match(exchange.method, exchange.raw_path)
                body, held = await read_body(exchange.headers, exchange.receive, self._budget)
                if "content-encoding" in exchange.headers:
                    body = await self._decoded(exchange.headers["content-encoding"], body)
                    self._budget.take(len(body))
                    held += len(body)
                request = exchange.request(body, match.params)
                del body
                response = await match.route.handler(request)
        except ClientGone:
            exchange.abandon()
            return
        except asyncio.CancelledError as exc:
            if CLIENT_GONE in exc.args:
                exchange.abandon()
                return
            await exchange.fail(ModelNotReady("the server is stopping; send the request again"))
            return
        except TimeoutError:
            await exchange.fail(self._too_late(exchange))
            return
        except MethodNotAllowed as exc:
            await exchange.fail(exc, allow=self._routes.allowed(exchange.raw_path))
            return
        except Exception as exc:  # the border: the client gets an answer to every error
            await exchange.fail(exc)
            return
        finally:
            self._budget.give_back(held)
        await exchange.answer(response)

    async def _decoded(self, coding: str, body: bytes) -> bytes:
        limit = self._budget.max_body_bytes
        return await asyncio.wrap_future(self._workers.submit(decompress, body, coding, limit))

    def _too_late(self, exchange: _Exchange) -> EnginecrateError:
        if exchange.body_arrived:
            return RequestTimeout(
                f"the request was not done within {self._timeout:g} seconds "
                "(setting request_timeout_seconds); try again when the server is less busy"
            )
        return BodyTooSlow(
            f"the request's body did not arrive within {self._timeout:g} seconds (setting "
            "request_timeout_seconds); check that Content-Length is the length of the body"
        )


class _Exchange:
    """One request and its answer, as ASGI gives and takes them."""

    def __init__(
        self, scope: _Scope, receive: _Receive, send: _Send, statistics: HttpStatistics
    ) -> None:
        self._statistics = statistics
        self.arrived = time.perf_counter()
        self.method: str = scope["method"]
        self.raw_path: str = scope["raw_path"].decode("ascii", "replace")
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.request_id = _request_id(self.headers.get("x-request-id"))
        self.trace = _trace(self.headers.get("traceparent"))
        self.body_arrived = _has_no_body(self.headers)
        address, port = scope.get("client") or ("", 0)
        self.client = Client(address, port)
        self._query: bytes = scope["query_string"]
        self._receive = receive
        self._send = send

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self.body_arrived = not message.get("more_body", False)
        return message

    def request(self, body: bytes, params: Mapping[str, str]) -> Request:
        """The request, now that its body is there."""
        query = self._query
        return Request(
            method=self.method,
            path=self.raw_path,
            query=dict(parse_qsl(query.decode("latin-1"), True)) if query else {},
            headers=self.headers,
            body=body,
            request_id=self.request_id,
            arrived=self.arrived,
            params=params,
            trace=self.trace,
            client=self.client,
        )

    async def answer(self, response: Response) -> None:
        """_Send an answer to a request whose body was read, and log it."""
        await self._start(response)
        last = len(response.body) - 1
        for position, part in enumerate(response.body):
            message = {"type": "http.response.body", "body": part, "more_body": position < last}
            await self._send(message)
        if last < 0:
            await self._send({"type": "http.response.body", "body": b""})
        # The loop writes to the socket at the end of its round, so the log's turn comes after it.
        asyncio.get_running_loop().call_soon(self._log, response, time.perf_counter())

    async def fail(self, error: BaseException, *, allow: str = "") -> None:
        """_Send the answer for an error."""
        response = error_response(error, api_of(self.raw_path), self.request_id)
        if isinstance(error, QueueFull):
            self._statistics.refused(error.reason)
        _forget_frames(error)
        if allow:
            response.headers = (*response.headers, ("allow", allow))
        if self.body_arrived:
            await self.answer(response)
            return
        response.headers = (*response.headers, ("connection", "close"))
        await self._start(response)
        body = b"".join(response.body)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        self._log(response, time.perf_counter())
        if not isinstance(error, BodyTooSlow):
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(_DISCARD_SECONDS):
                    await discard_body(self._receive)
        await self._send({"type": "http.response.body", "body": b""})

    def abandon(self) -> None:
        """Note in the log that the client has gone; 499 is nginx's number."""
        self._log(Response(499, (), log={"error": CLIENT_GONE}), time.perf_counter())

    async def _start(self, response: Response) -> None:
        self._statistics.answered(response.status)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
        headers.append((b"content-length", b"%d" % response.size))
        headers.append((b"x-request-id", self.request_id.encode()))
        headers.append((b"x-content-type-options", b"nosniff"))
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )

    def _log(self, response: Response, done: float) -> None:
        elapsed = done - self.arrived
        log_request(
            self.method, self.raw_path, response.status, elapsed, self.request_id, self.trace,
            response.log,
        )  # fmt: skip


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of a traceback hold: bodies, until the garbage collector's turn."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _has_no_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"


def _request_id(sent: str | None) -> str:
    if sent is not None and _SANE_ID.fullmatch(sent):
        return sent
    return f"{random.getrandbits(128):032x}"  # a name, no secret: no system call


def _trace(header: str | None) -> tuple[str, str] | None:
    """Trace and parent span of a `traceparent` header (W3C Trace Context, section 3.2)."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    return (match[1], match[2]) if match else None
