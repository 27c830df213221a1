"""The beginning and the end of a child: its first message, its signals, its control channel.

`begin` comes first in a child's `main`, and a `Link` in its loop:

    control, start = begin(sys.argv[1])
    link = Link(control, {Attach: attach, Finish: finish})
    link.start()

Both are for processes that the supervisor starts.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.errors import EnginecrateError
from enginecrate.manifest import ManifestFile, load_manifest
from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.processes.channel import Channel, Handlers
from enginecrate.server.processes.control import DESCRIPTORS, TO_CHILD, Failure, Start
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.server.statistics.page import open_pages

__all__ = ["Link", "begin", "open_app"]

_HEAD = struct.Struct("<I")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def begin(descriptor: str) -> tuple[socket.socket, Start]:
    """Read the first message and configure logging. Signals to the group mean the supervisor.

    A supervisor that has ended meanwhile ends this process.

    Args:
        descriptor: of the control channel, as given on the command line.
    """
    for number in _SIGNALS:
        signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    control = socket.socket(fileno=int(descriptor))
    control.setblocking(True)
    os.set_inheritable(control.fileno(), False)
    try:
        (size,) = _HEAD.unpack(_read(control, _HEAD.size))
        start = msgspec.msgpack.decode(_read(control, size), type=Start)
    except (EOFError, OSError):
        raise SystemExit(1) from None
    for each in (start.log_socket, start.statistics):
        if each >= 0:
            os.set_inheritable(each, False)
    configure_logs(start.settings, process=start.name, file_socket=start.log_socket)
    return control, start


class Link:
    """A child's end of its control channel, in its loop."""

    def __init__(
        self,
        control: socket.socket,
        handlers: Handlers,
    ) -> None:
        """`handlers`: for messages to this child; it ignores the others of `TO_CHILD`."""
        everything: Handlers = {kind: handlers.get(kind, _drop) for kind in TO_CHILD}
        self._channel = Channel(control, everything, DESCRIPTORS, _orphaned)

    def start(self) -> None:
        """Read from now on, in the running loop."""
        self._channel.start()

    def send(self, message: msgspec.Struct) -> None:
        """Tell the supervisor. From any thread."""
        self._channel.send(message)

    def fail(self, error: EnginecrateError, *, final: bool) -> None:
        """Tell it the error that ends this process; the caller ends it."""
        self._channel.send(Failure(error.code, str(error), final))


def _read(control: socket.socket, size: int) -> bytes:
    """Exactly so many bytes: what follows may carry descriptors."""
    data = b""
    while len(data) < size:
        piece = control.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _orphaned() -> None:
    """Without a supervisor there is nobody to answer to."""
    os._exit(1)


def _ignore(number: int, frame: Any) -> None:
    """The supervisor gets the signal, too, and says what to do. An exec forgets this handler."""


def _drop(message: msgspec.Struct, descriptors: list[int]) -> None:
    for each in descriptors:
        os.close(each)


def open_app(control: socket.socket, start: Start) -> tuple[ManifestFile, ModelStatistics] | None:
    """The app that this process is for, and its counters; in its loop.

    Returns:
        `None` when the manifest cannot be used: the supervisor was told, and the process should
        end.
    """
    try:
        file = load_manifest(Path(start.path))
    except EnginecrateError as exc:
        link = Link(control, {})
        link.start()
        link.fail(exc, final=True)
        return None
    if start.statistics < 0:
        return file, ModelStatistics()
    return file, ModelStatistics(open_pages(start.statistics), start.number)
