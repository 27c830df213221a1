"""A proxy in front of a registry that breaks connections, answers errors, and counts bytes."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_TLS_HELLO = b"\x16"


@dataclass
class FaultyProxy:
    """Each plain connection takes one entry of each list that is not empty.

    cut_answers, cut_requests: bytes after which the connection breaks; -1: it does not.
    hold_at: bytes, of all answers, after which they stand still until `held` is released.
    errors: whole HTTP answers that are given instead of the registry's; b"": none.
    sent, received: bytes to and from the registry.
    broken, standing: set when a connection was cut, or an answer stands still.
    """

    target: str
    address: str = ""
    cut_answers: list[int] = field(default_factory=list)
    cut_requests: list[int] = field(default_factory=list)
    hold_at: float = float("inf")
    errors: list[bytes] = field(default_factory=list)
    sent: int = 0
    received: int = 0
    cuts: int = 0
    connections: int = 0
    broken: threading.Event = field(default_factory=threading.Event)
    standing: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)


def error_answer(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Fault", *headers, "Content-Length: 0", "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def faulty_proxy(target: str, *, cut_answers: list[int] | None = None,
                 cut_requests: list[int] | None = None,
                 errors: list[bytes] | None = None) -> Iterator[FaultyProxy]:  # fmt: skip
    """A proxy on a free port of 127.0.0.1 that ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        proxy = FaultyProxy(
            target,
            f"{host}:{port}",
            cut_answers=cut_answers or [],
            cut_requests=cut_requests or [],
            errors=errors or [],
        )
        threading.Thread(target=_accept, args=(server, proxy), daemon=True).start()
        yield proxy
        proxy.held.set()
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, proxy: FaultyProxy) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, proxy), daemon=True).start()


def _serve(client: socket.socket, proxy: FaultyProxy) -> None:
    with client:
        first = client.recv(1, socket.MSG_PEEK)
        if not first:
            return
        error, answers, requests = b"", -1, -1
        if first != _TLS_HELLO:
            proxy.connections += 1
            error = proxy.errors.pop(0) if proxy.errors else b""
            if not error:
                answers = proxy.cut_answers.pop(0) if proxy.cut_answers else -1
                requests = proxy.cut_requests.pop(0) if proxy.cut_requests else -1
        if error:
            _drain(client)
            client.sendall(error)
            return
        host, _, port = proxy.target.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            up = threading.Thread(
                target=_pump, args=(client, upstream, requests, proxy, "sent"), daemon=True
            )
            up.start()
            _pump(upstream, client, answers, proxy, "received")
            up.join()


def _drain(client: socket.socket) -> None:
    """Read one request, so that closing the connection does not lose the answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1 << 16)
    head, _, body = head.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += client.recv(1 << 20)


def _pump(
    source: socket.socket, target: socket.socket, limit: int, proxy: FaultyProxy, counter: str
) -> None:
    """Pass bytes on until the end, or until `limit` of them have passed."""
    left = limit
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            if limit >= 0:
                piece = piece[:left]
                left -= len(piece)
            target.sendall(piece)
            if proxy.received >= proxy.hold_at:
                proxy.standing.set()
                proxy.held.wait()
            setattr(proxy, counter, getattr(proxy, counter) + len(piece))
            if limit >= 0 and left == 0:
                proxy.cuts += 1
                proxy.broken.set()
                break
    # What has passed still arrives: the other side sees an end, and no reset that eats bytes.
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
