"""Reading a request's body: within its size, within its time, decompressed."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from enginecrate.errors import BodyTooLarge, MediaTypeUnsupported, QueueFull, RequestInvalid
from enginecrate.server.http.messages import shown

__all__ = ["BodyBudget", "ClientGone", "decompress", "discard_body", "read_body"]

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_MEMORY_FACTOR = 8
"""All bodies that are being worked on together may take this many times the limit for one."""

_MAX_MEMBERS = 4096
"""A body in blocks, as `bgzip` writes it, has about 1000 in 64 MB."""

_PIECE_BYTES = 1 << 16

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class ClientGone(Exception):
    """The client closed its connection."""


class BodyBudget:
    """Counts the bytes of all bodies in memory, so that many large ones cannot exhaust it.

    Used by the event loop's thread only.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.limit = _MEMORY_FACTOR * max_body_bytes
        self.held = 0

    def take(self, size: int) -> None:
        """Raises `QueueFull` when the bytes do not fit any more."""
        if self.held + size > self.limit:
            raise QueueFull(
                f"the bodies of all running requests take {self.held} bytes already, of "
                f"{self.limit}; try again after a moment",
                reason="memory",
            )
        self.held += size

    def give_back(self, size: int) -> None:
        """The bytes of a request that was answered."""
        self.held -= size


async def read_body(
    headers: Mapping[str, str], receive: _Receive, budget: BodyBudget
) -> tuple[bytes, int]:
    """Read a body as it was sent.

    Returns:
        The body, and how many bytes of the budget it holds; the caller gives them back.

    Raises:
        BodyTooLarge: announced or found larger than the limit; the rest was not read.
        RequestInvalid: the announced length is not a number.
        QueueFull: the budget is used up.
        ClientGone: the connection ended before the body did.
    """
    limit = budget.max_body_bytes
    announced = _announced(headers)
    if announced > limit:
        raise BodyTooLarge(
            f"the body has {announced} bytes; at most {limit} are taken (setting max_body_bytes)"
        )
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            budget.take(len(part))
            size += len(part)
            if size > limit:
                raise BodyTooLarge(
                    f"the body is larger than {limit} bytes (setting max_body_bytes)"
                )
            parts.append(part)
            if not message.get("more_body", False):
                return (parts[0] if len(parts) == 1 else b"".join(parts)), size
    except BaseException:
        budget.give_back(size)
        raise


async def discard_body(receive: _Receive) -> None:
    """Read the rest of a body and forget it.

    A client that is still sending reads its answer only afterwards; closing the connection under
    it would reset it and lose the answer (RFC 9112, section 9.6).
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """Undo a content coding (RFC 9110, section 8.4.1).

    Args:
        body: as sent.
        coding: the header `Content-Encoding`.
        limit: bytes of the result; nothing larger is ever held.

    Raises:
        MediaTypeUnsupported: the coding is not gzip, deflate or identity.
        RequestInvalid: the bytes are not of this coding, or end too early.
        BodyTooLarge: the result would be larger than the limit.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WBITS:
        raise MediaTypeUnsupported(
            f"the body's Content-Encoding {shown(coding)} is not supported; use gzip or deflate"
        )
    parts: list[bytes] = []
    left, rest = limit, memoryview(body)
    try:
        for _ in range(_MAX_MEMBERS + 1):  # gzip: one after another (RFC 1952, section 2.2)
            if not rest:
                return b"".join(parts)
            rest, left = _inflate(rest, coding, left, parts)
            if left < 0:
                raise BodyTooLarge(
                    f"the body is larger than {limit} bytes after decompression "
                    "(setting max_body_bytes)"
                )
            if rest and coding == "deflate":
                raise RequestInvalid("bytes follow the end of the deflate body; leave them out")
    except zlib.error as exc:
        raise RequestInvalid(
            f"the body's Content-Encoding is {coding}, but its bytes are not: {exc}"
        ) from exc
    raise RequestInvalid(
        f"the {coding} body has more than {_MAX_MEMBERS} members; compress it as a whole"
    )


def _inflate(
    data: memoryview, coding: str, limit: int, parts: list[bytes]
) -> tuple[memoryview, int]:
    """Decompress one member into `parts`: what follows it, and what is left of the limit.

    In pieces, since zlib copies all that follows a member.
    """
    inflater = zlib.decompressobj(_WBITS[coding])
    while not inflater.eof and limit >= 0:
        if not data:
            raise RequestInvalid(f"the {coding} body ends too early; send all of it")
        piece = data[:_PIECE_BYTES]
        parts.append(inflater.decompress(piece, limit + 1))
        limit -= len(parts[-1])
        data = data[len(piece) - len(inflater.unused_data) :]
    return data, limit


def _announced(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RequestInvalid(f"the header Content-Length is {shown(text)}, not a number of bytes")
    return int(text)
