"""Addresses, payloads, and the requests that are made of them before the load begins."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from enginecrate.errors import UsageError

__all__ = ["RESULTS", "Address", "Payload", "Span", "parse_address", "request_bytes"]


class Address(msgspec.Struct, frozen=True):
    """The address that requests go to. `authority`: for the header `host`."""

    host: str
    port: int
    path: str
    authority: str
    secure: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of a request. `name`: for the report. `fields`: more lines of the head."""

    name: str
    body: bytes
    media_type: str = "application/octet-stream"
    fields: tuple[tuple[str, str], ...] = ()


class Span(msgspec.Struct, frozen=True):
    """The part of an answer that two right answers to one payload share: between two marks."""

    begin: bytes
    end: bytes

    def part(self, body: bytes) -> bytes:
        """The part of a body; all of it when the marks are missing."""
        _, begin, rest = body.partition(self.begin)
        part, end, _ = rest.rpartition(self.end)
        return part if begin and end else body


RESULTS = Span(b'"results":', b',"timing_ms":')
"""The results of an answer of `/v1/predict`, without its times and its id."""


def parse_address(url: str, path: str) -> Address:
    """The address of `path` on the server with this URL.

    Raises:
        UsageError: not an HTTP URL, or one with a password, which no server here asks for.
    """
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as exc:  # half an IPv6 address, or a port that is none
        raise _no_address(url) from exc
    if "@" in parts.netloc:
        # Not quoted: it could end in a log.
        raise UsageError("the server's address holds a user name or a password; leave it out")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _no_address(url)
    root = parts.path.rstrip("/").removesuffix(path)
    return Address(parts.hostname, port, root + path, parts.netloc, parts.scheme == "https")


def request_bytes(address: Address, payload: Payload) -> bytes:
    """The whole request: head and body in one piece, so that it takes one write."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in payload.fields)
    head = (
        f"POST {address.path} HTTP/1.1\r\nhost: {address.authority}\r\n"
        f"content-type: {payload.media_type}\r\naccept: application/json\r\n{fields}"
        f"content-length: {len(payload.body)}\r\n\r\n"
    )
    return head.encode("latin-1") + payload.body


def _no_address(url: str) -> UsageError:
    return UsageError(f"{url} is no HTTP address; for example http://localhost:8000")
