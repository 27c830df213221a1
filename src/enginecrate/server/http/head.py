"""The head of a request: parsed by llhttp, checked as RFC 9112 asks.

Only heads go through the parser, a new one for each: bodies are not copied by it, and whatever a
head has left behind is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httptools

from enginecrate.server.http.messages import shown

__all__ = ["HeadInvalid", "RequestHead", "malformed", "parse_head"]

_VERSIONS = ("1.0", "1.1")
_PROTOCOL = re.compile(rb"\A[^\r\n]* HTTP/1\.[01]\r\n")
"""The first line: the parser also takes the protocols ICE and RTSP."""

_HOST = re.compile(r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Za-z:.%_~-]+\])(?::[0-9]*)?")
"""Name or address, and port (RFC 3986, section 3.2)."""

_MAX_DIGITS = 18
_ONCE = ("host", "content-length", "transfer-encoding", "inference-header-content-length")
"""Headers that mean two things when they are sent twice with different values."""


class HeadInvalid(Exception):
    """A head that is refused before its path is looked at. `status`: of the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body.

    path: as sent, percent-encoded, without the query.
    headers: names in lower case; of a repeated header the last one.
    length: bytes of the body; `None` when it comes in chunks.
    keep_alive: the client may send another request on this connection; never with HTTP/1.0.
    expects_continue: it waits for `100 Continue` before it sends the body.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    length: int | None
    keep_alive: bool
    expects_continue: bool

    @property
    def has_body(self) -> bool:
        return self.length != 0


class _Collector:
    """What the parser calls."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()  # later it is forgotten

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def parse_head(data: bytes) -> RequestHead:
    """Parse a head.

    Args:
        data: all of it, with the empty line at its end, and nothing behind.

    Raises:
        HeadInvalid: it is not HTTP/1.1 or HTTP/1.0, or not as RFC 9112 asks.
    """
    collector = _Collector()
    parser = collector.parser
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:  # answered in this protocol
        pass
    except httptools.HttpParserError as exc:
        raise malformed() from exc
    version = parser.get_http_version()
    method = parser.get_method().decode("ascii")
    if version not in _VERSIONS or method == "CONNECT" or not _PROTOCOL.search(data):
        raise malformed()
    headers = _headers(collector.headers)
    host = headers.get("host")
    if host is None and version == "1.1":
        raise HeadInvalid(400, "the request has no Host header; HTTP/1.1 asks for one")
    if host and not _HOST.fullmatch(host):
        raise HeadInvalid(400, f"the Host {shown(host)} is no host; write name, or name:port")
    path, query = _target(collector.url)
    return RequestHead(
        method=method,
        path=path,
        query=query,
        headers=headers,
        length=_length(headers, version),
        keep_alive=version == "1.1" and collector.keep_alive,
        expects_continue=version == "1.1" and headers.get("expect", "").lower() == "100-continue",
    )


def malformed() -> HeadInvalid:
    """The refusal of what is not HTTP."""
    return HeadInvalid(400, "the request is not valid HTTP/1.1; check its first line and headers")


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.lower().decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        if name in _ONCE and headers.get(name, value) != value:
            raise HeadInvalid(400, f"the header {name} is sent twice, with different values")
        if name == "host" and name in headers:
            raise HeadInvalid(400, "the header Host is sent twice")
        if name == "transfer-encoding" and name in headers:
            raise HeadInvalid(400, "the header Transfer-Encoding is sent twice")
        headers[name] = value
    return headers


def _target(url: bytes) -> tuple[str, str]:
    """Path and query of a request target, in origin, absolute or asterisk form."""
    if not url.startswith(b"/") or b"#" in url:
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError as exc:
            raise malformed() from exc
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.partition(b"?")
    return path.decode("ascii", "replace"), query.decode("latin-1")


def _length(headers: Mapping[str, str], version: str) -> int | None:
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if version == "1.0":
            raise HeadInvalid(400, "Transfer-Encoding is not part of HTTP/1.0")
        if coding.lower() != "chunked":
            raise HeadInvalid(
                501, f"the Transfer-Encoding {shown(coding)} is not known; use chunked, or none"
            )
        return None
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise malformed()
    return int(text)
