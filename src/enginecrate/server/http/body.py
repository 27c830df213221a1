"""Undoing a body's compression, within a size."""

from __future__ import annotations

import zlib

from enginecrate.errors import BodyTooLarge, MediaTypeUnsupported, RequestInvalid
from enginecrate.server.http.messages import shown

__all__ = ["decompress"]

_MAX_MEMBERS = 4096
"""A body in blocks, as `bgzip` writes it, has about 1000 in 64 MB."""

_PIECE_BYTES = 1 << 16

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


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
