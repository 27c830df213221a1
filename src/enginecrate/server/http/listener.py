"""The listening socket of the server."""

from __future__ import annotations

import errno
import socket

from enginecrate.errors import AddressInUse

__all__ = ["BACKLOG", "listen", "url_of"]

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: a name or an address, IPv4 or IPv6.
        port: 0 takes any free one.

    Raises:
        AddressInUse: the address cannot be listened on; the message says why.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise AddressInUse(
            f"cannot listen on host {host!r}: {exc.strerror or exc}; choose another with --host"
        ) from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise AddressInUse(_why(host, port, exc)) from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """The address that clients on this machine use."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(host: str, port: int, error: OSError) -> str:
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
