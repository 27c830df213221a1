"""The request that a handler gets, and the response that it gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from enginecrate.server.scheduling.batch import Lease
from enginecrate.server.scheduling.client import Client
from enginecrate.values import Digest

__all__ = ["Buffer", "Handler", "Headers", "Request", "Response", "etag", "json_response", "shown"]

Buffer = bytes | bytearray | memoryview

Headers = tuple[tuple[str, str], ...]

_NOBODY = Client("", 0)

_JSON = ("content-type", "application/json")


@dataclass(slots=True)
class Request:
    """A request whose body has arrived, decompressed.

    headers: names in lower case; of a repeated header the last one.
    params: the values of the route's parameters in the path, percent-decoded.
    arrived: `time.perf_counter()` when the head had arrived.
    trace: trace and span of a W3C `traceparent` header, or nothing.
    client: the connection that it came on.
    lease: of the memory that the body lies in; `None`: plain bytes.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | memoryview
    request_id: str
    arrived: float
    params: Mapping[str, str] = field(default_factory=dict)
    trace: tuple[str, str] | None = None
    client: Client = _NOBODY
    lease: Lease | None = None


@dataclass(slots=True)
class Response:
    """An answer.

    body: sent one after the other.
    log: fields for the request's line in the log.
    lease: of the memory that the body lies in; released once it is sent.
    """

    status: int
    headers: Headers
    body: Sequence[Buffer] = ()
    log: Mapping[str, Any] = field(default_factory=dict)
    lease: Lease | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(memoryview(part).nbytes for part in self.body)


Handler = Callable[[Request], Awaitable[Response]]


def json_response(
    value: Any,
    status: int = 200,
    headers: Headers = (),
    log: Mapping[str, Any] | None = None,
) -> Response:
    """An answer in JSON."""
    return Response(status, (_JSON, *headers), (msgspec.json.encode(value),), log or {})


def shown(value: str, limit: int = 60) -> str:
    """Text of a client, safe to repeat in a message: quoted, escaped, and never long."""
    if len(value) <= limit:
        return repr(value)
    return f"{value[:limit]!r}... ({len(value)} characters)"


def etag(data: bytes) -> str:
    """An entity tag (RFC 9110, section 8.8.3) that changes with the content."""
    return f'"{Digest.of(data).short}"'
