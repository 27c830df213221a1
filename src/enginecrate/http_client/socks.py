"""SOCKS 5: a way through a proxy to a host, whose name the proxy looks up.

Sources: RFC 1928; RFC 1929 (name and password).
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from enginecrate.http_client.failures import ProxyFailed
from enginecrate.http_client.proxies import Proxy

__all__ = ["open_way"]

_NO_LOGIN, _PASSWORD = 0, 2
_REPLIES = {
    1: "it failed",
    2: "its rules do not allow it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the connection is refused",
    6: "the way is too long",
    7: "it cannot do that",
    8: "it does not know this kind of address",
}
_ADDRESS_BYTES = {1: 4, 4: 16}


class _Stream(Protocol):
    """The part of a connection that is needed here."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...

    def write(self, buffer: bytes, timeout: float | None = None) -> None: ...


def open_way(stream: _Stream, proxy: Proxy, host: str, port: int, timeout: float | None) -> None:
    """Have the proxy at the other end of `stream` connect it to a host.

    Raises:
        ProxyFailed: it refuses, or speaks something else.
    """
    methods = bytes([_NO_LOGIN, _PASSWORD] if proxy.username else [_NO_LOGIN])
    stream.write(bytes([5, len(methods)]) + methods, timeout)
    version, method = _read(stream, 2, proxy, timeout)
    if version != 5:
        raise _failed(proxy, "it does not speak SOCKS 5")
    if method == _PASSWORD and proxy.username:
        _log_in(stream, proxy, timeout)
    elif method != _NO_LOGIN:
        raise _failed(proxy, "it wants a login; write socks5h://USER:PASSWORD@HOST:PORT")
    stream.write(b"\x05\x01\x00" + _target(host, proxy) + port.to_bytes(2, "big"), timeout)
    version, reply, _, kind = _read(stream, 4, proxy, timeout)
    if version != 5:
        raise _failed(proxy, "it does not speak SOCKS 5")
    if reply:
        raise _failed(proxy, f"{host}: {_REPLIES.get(reply, f'it answers {reply}')}")
    length = _ADDRESS_BYTES.get(kind) or _read(stream, 1, proxy, timeout)[0]
    _read(stream, length + 2, proxy, timeout)


def _log_in(stream: _Stream, proxy: Proxy, timeout: float | None) -> None:
    name, password = proxy.username.encode(), proxy.password.encode()
    lengths = bytes([1, len(name)]), bytes([len(password)])
    stream.write(lengths[0] + name + lengths[1] + password, timeout)
    if _read(stream, 2, proxy, timeout)[1]:
        raise _failed(proxy, "it refuses the name and the password")


def _target(host: str, proxy: Proxy) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii", "replace")
        if not 0 < len(name) < 256:
            raise _failed(proxy, "the name of the host is too long") from None
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def _read(stream: _Stream, count: int, proxy: Proxy, timeout: float | None) -> bytes:
    data = b""
    while len(data) < count:
        piece = stream.read(count - len(data), timeout)
        if not piece:
            raise _failed(proxy, "it hangs up; is it a SOCKS proxy?")
        data += piece
    return data


def _failed(proxy: Proxy, reason: str) -> ProxyFailed:
    return ProxyFailed(f"the proxy {proxy.address}: {reason}", "ProxyError")
