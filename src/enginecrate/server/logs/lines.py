"""Handlers of lines: what one round of the event loop logs is written at once, at its end.

A line that is logged anywhere else is written before the call returns, and so is everything that
waits by then: lines keep their order, and none is lost at a normal end.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import select
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from enginecrate.server.logs.formatters import LINE_BYTES, JsonFormatter

__all__ = ["LineHandler", "LineStream", "joined", "pieces", "post_line"]


class LineHandler(logging.Handler, ABC):
    """A handler that takes lines which are encoded already, as well as records. Thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[bytes] = deque()
        self._has_turn = False

    def post(self, line: bytes) -> None:
        """Write a line at the end of this round of the event loop; at once outside of one.

        Args:
            line: in UTF-8, without its end.
        """
        self._waiting.append(line)
        if self._has_turn:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._has_turn = True
            loop.call_soon(self._turn)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record behind what waits."""
        try:
            self._waiting.append(self.format(record).encode("utf-8", "backslashreplace"))
        except Exception:  # a record that cannot be formatted
            self.handleError(record)
        self.flush()

    def flush(self) -> None:
        """Write what waits. An error of the operating system is not raised."""
        self.acquire()
        try:
            lines = []
            with contextlib.suppress(IndexError):
                while True:
                    lines.append(self._waiting.popleft())
            if lines:
                self.write(lines)
        finally:
            self.release()

    def close(self) -> None:
        self.flush()
        super().close()

    @abstractmethod
    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines, with the handler's lock held."""

    def _turn(self) -> None:
        self._has_turn = False
        self.flush()


class LineStream(LineHandler):
    """Writes to a stream that other processes may share: pieces of whole lines, up to 4 KiB."""

    def __init__(self, stream: TextIO) -> None:
        """`stream`: of this process; not closed."""
        super().__init__()
        self._stream = stream
        try:
            self._descriptor = stream.fileno()
        except (OSError, io.UnsupportedOperation):  # in memory
            self._descriptor = -1

    def write(self, lines: Sequence[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # its reader has gone, or it is closed
            self._stream.flush()
            if self._descriptor < 0:
                self._stream.write(joined(lines).decode())
                return
            for piece in pieces(lines, LINE_BYTES):
                _write_all(self._descriptor, joined(piece))


def pieces(lines: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """As many lines at a time as fit into so many bytes with their ends; at least one."""
    start = size = 0
    for position, line in enumerate(lines):
        if size and size + len(line) + 1 > most:
            yield lines[start:position]
            start, size = position, 0
        size += len(line) + 1
    if size:
        yield lines[start:]


def joined(lines: Sequence[bytes]) -> bytes:
    """Lines with their ends."""
    return b"\n".join((*lines, b""))


def post_line(logger: logging.Logger, level: int, message: str, fields: Mapping[str, Any]) -> None:
    """Log a line by a short way, for what is logged thousands of times a second.

    It is encoded once for all handlers; those that write no lines of JSON get a record.

    Args:
        logger: whose level allows it.
        level: as the standard library's.
        message: in words.
        fields: more of the line.
    """
    created = time.time()
    line = b""
    for handler in logging.getLogger().handlers:
        form = handler.formatter
        if isinstance(handler, LineHandler) and isinstance(form, JsonFormatter):
            line = line or form.line(created, level, logger.name, message, fields)
            handler.post(line)
        elif level >= handler.level:
            extra = {"fields": fields}
            handler.handle(
                logger.makeRecord(logger.name, level, __file__, 0, message, (), None, extra=extra)
            )


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also to a pipe that is full at the moment."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
