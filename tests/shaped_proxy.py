"""A TCP proxy with the speed of a customer's line, which counts what passes."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
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
        threading.Thread(target=_join, args=(client, upstream, proxy), daemon=True).start()


def _join(client: socket.socket, upstream: socket.socket, proxy: ShapedProxy) -> None:
    with client, upstream:
        back = threading.Thread(target=_pump, args=(upstream, client, proxy.wait_turn))
        back.start()
        _pump(client, upstream, proxy.count_sent)
        back.join()


def _pump(source: socket.socket, sink: socket.socket, note: Callable[[int], None]) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            note(len(piece))
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
