"""A TCP proxy with the speed of a customer's line, which counts what passes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECE = 1 << 16


@dataclass
class ShapedProxy:
    """Connections to `address` go on to `target`; all answers together share one speed.

    bytes_per_second: of the answers, as of a line that is shared.
    sent: bytes from clients so far; received: bytes that clients got.
    """

    target: str
    bytes_per_second: float
    address: str = ""
    sent: int = 0
    received: int = 0
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_turn(self, size: int) -> None:
        """Wait until the line has carried `size` bytes more."""
        with self._lock:
            self.received += size
            self._free_at = max(self._free_at, time.monotonic()) + size / self.bytes_per_second
            pause = self._free_at - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def count_sent(self, size: int) -> None:
        with self._lock:
            self.sent += size


@contextmanager
def shaped_proxy(target: str, bytes_per_second: float = float("inf")) -> Iterator[ShapedProxy]:
    """A proxy on a free port of 127.0.0.1 that ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        proxy = ShapedProxy(target, bytes_per_second, f"{host}:{port}")
        threading.Thread(target=_accept, args=(server, proxy), daemon=True).start()
        yield proxy
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, proxy: ShapedProxy) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        host, port = proxy.target.rsplit(":", 1)
        upstream = socket.create_connection((host, int(port)))
        for source, sink, note in (
            (client, upstream, proxy.count_sent),
            (upstream, client, proxy.wait_turn),
        ):
            threading.Thread(target=_pump, args=(source, sink, note), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, note) -> None:
    try:
        while piece := source.recv(_PIECE):
            note(len(piece))
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()
