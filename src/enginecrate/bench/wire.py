"""One kept-alive HTTP/1.1 connection, with as little work per request as possible.

A general client takes about as much time as the server does, and a load tool on the same machine
must not measure itself.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from enginecrate.errors import UsageError

__all__ = ["Address", "Answer", "Connection", "Payload", "parse_address"]

_MOST_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Address:
    """The address that requests go to. `authority`: for the header `host`."""

    host: str
    port: int
    path: str
    authority: str
    secure: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of a request. `name`: for the report."""

    name: str
    body: bytes
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: bytes


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


class Connection:
    """Sends one request after the other; opens itself again after an error."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, payload: Payload) -> Answer:
        """Post a payload.

        Raises:
            OSError: no connection, or it broke.
            EOFError: the server closed it before the answer was whole.
            ValueError: what came is no HTTP/1.1 answer with a length.
        """
        if self._streams is None:
            self._streams = await self._open()
        reader, writer = self._streams
        try:
            writer.write(self._head(payload))
            writer.write(payload.body)
            await writer.drain()
            return await self._receive(reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it. A second call does nothing."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = self._address
        context = ssl.create_default_context() if address.secure else None
        return await asyncio.open_connection(
            address.host, address.port, ssl=context, limit=_MOST_HEAD
        )

    def _head(self, payload: Payload) -> bytes:
        address = self._address
        return (
            f"POST {address.path} HTTP/1.1\r\nhost: {address.authority}\r\n"
            f"content-type: {payload.media_type}\r\naccept: application/json\r\n"
            f"content-length: {len(payload.body)}\r\n\r\n"
        ).encode("latin-1")

    async def _receive(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = int(head[0].split(b" ", 2)[1])
        fields = dict(line.lower().split(b":", 1) for line in head[1:] if b":" in line)
        if b"content-length" not in fields:
            raise ValueError("the answer has no content-length")
        body = await reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"connection", b"").strip() == b"close":
            self.close()
        return Answer(status, body)


def _no_address(url: str) -> UsageError:
    return UsageError(f"{url} is no HTTP address; for example http://localhost:8000")
