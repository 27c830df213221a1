"""Connections below HTTP: through SOCKS where that is wanted, and never at a snail's pace.

A timeout between two bytes does not end a transfer that gets one byte a second: the pace does.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore

from enginecrate.http_client.failures import ConnectionBroken, ProxyFailed, TransferSlow
from enginecrate.http_client.proxies import Proxy
from enginecrate.http_client.socks import open_way

__all__ = ["Backend", "Pace", "head_limit"]

_LARGEST_HEAD = 1 << 20
_head = threading.local()


@dataclass(frozen=True, slots=True)
class Pace:
    """The least that must arrive: `rate` bytes a second, over `window` seconds of waiting.

    The time before the first byte of an answer does not count, nor does time in which no one reads.
    """

    rate: int
    window: float


@contextmanager
def head_limit() -> Iterator[None]:
    """Within the block, more bytes than any answer's head has are a fault: it never ends."""
    _head.left = _LARGEST_HEAD
    try:
        yield
    finally:
        _head.left = None


class Backend(httpcore.NetworkBackend):
    """Opens connections.

    proxy: on the way; through one of SOCKS the backend itself leads, to one of HTTP it connects.
    pace: of what arrives; `None`: any.
    """

    def __init__(self, pace: Pace | None = None, proxy: Proxy | None = None) -> None:
        self._inner, self._pace, self._proxy = httpcore.SyncBackend(), pace, proxy

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        socks = self._proxy if self._proxy and self._proxy.is_socks else None
        target = (socks.host, socks.port) if socks else (host, port)
        try:
            inner = self._inner.connect_tcp(*target, timeout, local_address, socket_options)
        except (UnicodeError, ValueError, OverflowError) as exc:
            raise httpcore.ConnectError(f"{target[0][:100]!r} is no name of a host") from exc
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            if self._proxy is None:
                raise
            reason = f"the proxy {self._proxy.address} cannot be reached: {exc}"
            raise ProxyFailed(reason, type(exc).__name__) from exc
        stream = _Stream(inner, self._pace)
        if socks:
            try:
                open_way(stream, socks, host, port, timeout)
            except BaseException:
                stream.close()
                raise
        return stream

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection that measures how much arrives while it is waited for."""

    def __init__(self, inner: httpcore.NetworkStream, pace: Pace | None) -> None:
        self._inner, self._pace = inner, pace
        self._begun = False
        self._waited = 0.0
        self._arrived = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        begin = time.monotonic()
        data = self._inner.read(max_bytes, timeout)
        if self._begun:
            self._waited += time.monotonic() - begin
        self._begun = True
        self._arrived += len(data)
        self._check_head(len(data))
        if data and self._pace and self._waited >= self._pace.window:
            if self._arrived < self._pace.rate * self._waited:
                raise TransferSlow(
                    f"{self._arrived} bytes in {self._waited:.0f} seconds, where "
                    f"{self._pace.rate} a second are the least"
                )
            self._waited, self._arrived = 0.0, 0
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._begun, self._waited, self._arrived = False, 0.0, 0
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            inner = self._inner.start_tls(ssl_context, server_hostname, timeout)
        except (UnicodeError, ValueError) as exc:
            self.close()
            raise httpcore.ConnectError(f"{server_hostname!r:.100} is no name of a host") from exc
        return _Stream(inner, self._pace)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _check_head(self, count: int) -> None:
        left = getattr(_head, "left", None)
        if left is not None:
            _head.left = left - count
            if _head.left < 0:
                raise ConnectionBroken("the head of the answer does not end", "RemoteProtocolError")
