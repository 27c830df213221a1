"""The listening sockets of the server."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, closing
from typing import Any

from enginecrate.errors import AddressInUse

__all__ = ["BACKLOG", "listen", "url_of"]

BACKLOG = 2048

_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
"""Errors where this machine, or this container, has no IPv6, or no such address."""

_TRIES = 8
"""A free port of one address may be taken at another."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host, and at the same port.

    Args:
        host: a name or an address, IPv4 or IPv6. `::` takes IPv4, too, and IPv4 alone where
            there is no IPv6. Of a name, addresses that this machine does not have are left out.
        port: 0 takes any free one.

    Raises:
        AddressInUse: the address cannot be listened on; the message says why.
    """
    for left in reversed(range(1 if port else _TRIES)):
        try:
            return _listen_on_all(host, port)
        except OSError as exc:
            if host == "::" and exc.errno in _NO_FAMILY:
                return listen("0.0.0.0", port)  # noqa: S104 - as the user asked: every interface
            if not left or exc.errno != errno.EADDRINUSE:
                raise AddressInUse(_why(host, port, exc)) from exc
    raise AssertionError


def _listen_on_all(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, "it has no address")
    with ExitStack() as opened:
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            try:
                listener = _listen(family, (address[0], port, *address[2:]))
            except OSError as exc:
                if exc.errno not in _NO_FAMILY:
                    raise
                missing = exc
                continue
            listeners.append(opened.enter_context(closing(listener)))
            port = listener.getsockname()[1]
        if not listeners:
            raise missing
        opened.pop_all()
    return listeners


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The address that clients on this machine use."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot listen on host {host!r}: {error.strerror}; choose another with --host"
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use by another process; stop that one "
            f"(`ss -ltnp 'sport = :{port}'` shows it), or choose another port with --http-port"
        )
    if error.errno == errno.EACCES:
        return (
            f"port {port} on {host} needs more rights than this process has; choose one above 1023 "
            "with --http-port"
        )
    return f"cannot listen on {host} port {port}: {error.strerror}; choose another with --host"
