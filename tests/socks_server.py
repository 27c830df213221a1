"""A SOCKS 5 proxy that leads every connection to one address.

Source: RFC 1928; RFC 1929.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass
class SocksServer:
    """login: `name:password` that is wanted. reply: to requests. asked: the hosts and ports."""

    target: str
    login: bytes = b""
    reply: int = 0
    address: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)


@contextmanager
def socks_server(target: str, *, login: bytes = b"", reply: int = 0) -> Iterator[SocksServer]:
    """It runs on a free port of 127.0.0.1, and ends with the block."""
    state = SocksServer(target, login, reply)
    with socket.create_server(("127.0.0.1", 0)) as server:
        state.address = f"127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=_accept, args=(server, state), daemon=True).start()
        yield state
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, state: SocksServer) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, state), daemon=True).start()


def _serve(client: socket.socket, state: SocksServer) -> None:
    with client, client.makefile("rb") as reading:
        if not _log_in(client, reading, state.login):
            return
        assert reading.read(4) == b"\x05\x01\x00\x03"  # connect, by name
        name = reading.read(reading.read(1)[0]).decode()
        state.asked.append((name, int.from_bytes(reading.read(2))))
        client.sendall(bytes([5, state.reply, 0, 1]) + bytes(6))
        if state.reply:
            return
        host, _, port = state.target.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            threading.Thread(target=_pump, args=(upstream.recv, client), daemon=True).start()
            _pump(reading.read1, upstream)


def _log_in(client: socket.socket, reading: BinaryIO, login: bytes) -> bool:
    methods = reading.read(reading.read(2)[1])
    if not login:
        client.sendall(b"\x05\x00")
        return True
    if 2 not in methods:
        client.sendall(b"\x05\xff")
        return False
    client.sendall(b"\x05\x02")
    name = reading.read(reading.read(2)[1])
    right = name + b":" + reading.read(reading.read(1)[0]) == login
    client.sendall(b"\x01\x00" if right else b"\x01\x01")
    return right


def _pump(read: Callable[[int], bytes], goal: socket.socket) -> None:
    try:
        while piece := read(1 << 16):
            goal.sendall(piece)
        goal.shutdown(socket.SHUT_WR)
    except OSError:
        return
