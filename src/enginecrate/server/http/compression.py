"""Compressing answers for clients that ask for it (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence

from enginecrate.server.http.messages import Buffer, Request, Response
from enginecrate.server.http.workers import Workers

__all__ = ["choose_coding", "compress", "compressed"]

_MIN_BYTES = 1024
_LEVEL = 1
"""Tensors hardly shrink with more effort, which costs much more than it saves on a fast network."""

_NEVER = re.compile(r"q\s*=\s*0(\.0*)?")

_WBITS = {"gzip": 31, "deflate": 15}


def choose_coding(accept: str, *, binary: bool) -> str | None:
    """The coding for an answer; `None` leaves it as it is.

    Args:
        accept: the header `Accept-Encoding`.
        binary: the answer holds binary tensors. They are only compressed for a client that names
            exactly one coding, as `tritonclient` does when its user asks for compression; general
            HTTP libraries name all that they know, and compressing is slower than sending then.
    """
    codings = []
    for entry in accept.split(","):
        name, _, weight = entry.partition(";")
        if not _NEVER.fullmatch(weight.strip()):
            codings.append(name.strip().lower())
    if binary and len(codings) != 1:
        return None
    return next((name for name in codings if name in _WBITS), None)


def compress(parts: Sequence[Buffer], coding: str) -> bytes:
    """One body of all parts, as gzip or deflate (zlib)."""
    deflater = zlib.compressobj(_LEVEL, wbits=_WBITS[coding])
    return b"".join([*map(deflater.compress, parts), deflater.flush()])


def compressed_here(request: Request, response: Response, *, binary: bool) -> Response:
    """As `compressed`, in this thread: for small answers."""
    coding = _coding_for(request, response, binary=binary)
    if coding is None:
        return response
    return _with_coding(response, compress(response.body, coding), coding)


async def compressed(
    request: Request, response: Response, workers: Workers, *, binary: bool
) -> Response:
    """The response, compressed when the client wants that and it is worth it."""
    coding = _coding_for(request, response, binary=binary)
    if coding is None:
        return response
    body = await asyncio.wrap_future(workers.submit(compress, response.body, coding))
    return _with_coding(response, body, coding)


def _coding_for(request: Request, response: Response, *, binary: bool) -> str | None:
    accept = request.headers.get("accept-encoding")
    if not accept or response.size < _MIN_BYTES:
        return None
    return choose_coding(accept, binary=binary)


def _with_coding(response: Response, body: bytes, coding: str) -> Response:
    headers = (*response.headers, ("content-encoding", coding), ("vary", "accept-encoding"))
    if response.lease is not None:
        response.lease.release()
    return Response(response.status, headers, (body,), response.log)
