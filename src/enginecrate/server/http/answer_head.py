"""The head of an answer, as bytes."""

from __future__ import annotations

import http
import time
from email.utils import formatdate

from enginecrate.server.http.messages import Response

__all__ = ["CONTINUE", "encode_head"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}


class _Date:
    """The header `Date` (RFC 9110, section 6.6.1), formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


_date = _Date()
_headers: dict[tuple[tuple[str, str], ...], bytes] = {}
_MAX_KEPT = 256


def encode_head(response: Response, request_id: str, *, close: bool) -> bytes:
    """Status line and headers, with the empty line behind them.

    Args:
        response: whose body is sent behind it.
        request_id: of its request.
        close: no other request is taken on the connection.
    """
    lines = [
        _STATUS_LINES[response.status],
        _date.line(),
        _encoded(response.headers),
        b"content-length: %d\r\nx-request-id: %b\r\nx-content-type-options: nosniff\r\n"
        % (response.size, request_id.encode("latin-1")),
        b"connection: close\r\n\r\n" if close else b"\r\n",
    ]
    return b"".join(lines)


def _encoded(headers: tuple[tuple[str, str], ...]) -> bytes:
    """The same few are sent again and again; those with values of their own are not kept."""
    kept = _headers.get(headers)
    if kept is None:
        kept = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
        if len(_headers) < _MAX_KEPT:
            _headers[headers] = kept
    return kept
