"""One request and its answer: what a connection keeps of it."""

from __future__ import annotations

import random
import re
import time
from urllib.parse import parse_qsl

from enginecrate.server.http.chunks import ChunkReader
from enginecrate.server.http.head import RequestHead
from enginecrate.server.http.messages import Request
from enginecrate.server.http.router import Match
from enginecrate.server.memory.leases import Lease
from enginecrate.server.scheduling.client import Client

__all__ = ["Exchange"]

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class Exchange:
    """One request and its answer.

    received: bytes of the body that are there.
    whole: the body is there, so that the connection can go on behind it.
    """

    __slots__ = (
        "arrived", "body", "chunks", "head", "lease", "match", "received", "request_id", "trace",
        "view", "whole",
    )  # fmt: skip

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.arrived = time.perf_counter()
        self.request_id = _request_id(head.headers.get("x-request-id"))
        self.trace = _trace(head.headers.get("traceparent"))
        self.match: Match  # found before anything else is done with it
        self.body: bytes | memoryview = b""
        self.view: memoryview | None = None
        self.lease: Lease | None = None
        self.chunks: ChunkReader | None = None
        self.received = 0
        self.whole = not head.has_body

    def request(self, client: Client) -> Request:
        """The request, now that its body is there."""
        head = self.head
        return Request(
            method=head.method,
            path=head.path,
            query=dict(parse_qsl(head.query, True)) if head.query else {},
            headers=head.headers,
            body=self.body,
            request_id=self.request_id,
            arrived=self.arrived,
            params=self.match.params,
            trace=self.trace,
            client=client,
            lease=self.lease,
        )

    def release(self) -> None:
        """Let go of the body's memory."""
        lease, self.lease = self.lease, None
        self.view = None
        self.body = b""
        if lease is not None:
            lease.release()


def _request_id(sent: str | None) -> str:
    if sent is not None and _SANE_ID.fullmatch(sent):
        return sent
    return f"{random.getrandbits(128):032x}"  # a name, no secret: no system call


def _trace(header: str | None) -> tuple[str, str] | None:
    """Trace and parent span of a `traceparent` header (W3C Trace Context, section 3.2)."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    return (match[1], match[2]) if match else None
