"""Bodies in chunks (RFC 9112, section 7.1), read strictly: what is unclear is refused."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["ChunkReader", "ChunksInvalid", "TrailerTooLarge"]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_EXTENSION = (
    rb"[ \t]*+;[ \t]*+" + _TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:" + _EXTENSION + rb")*+")
_PLAIN_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
_FIELD = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_MAX_LINE = 4096
_MAX_TRAILER = 64 * 1024
_MAX_OVERHEAD = 16
"""Bytes of lines for each byte of the body, beyond the first 64 KiB: more is an attack."""


class ChunksInvalid(Exception):
    """The body is not in chunks as it should be."""


class TrailerTooLarge(Exception):
    """The trailer, or what stands around tiny chunks, is larger than any use needs."""


class ChunkReader:
    """Takes bytes as they arrive, and hands the body on in order."""

    def __init__(self, take: Callable[[memoryview], None]) -> None:
        """`take`: is given each part of the body; it may raise."""
        self.is_done = False
        self._take = take
        self._line = b""
        self._left = 0
        self._expects = self._size_line
        self._trailer = 0
        self._overhead = 0
        self._body = 0

    def feed(self, data: bytes) -> int:
        """Read bytes.

        Returns:
            How many belong to this body; fewer than all only when it is done.

        Raises:
            ChunksInvalid, TrailerTooLarge: nothing more can be read.
        """
        view = memoryview(data)
        position = 0
        while position < len(view) and not self.is_done:
            if self._left:
                piece = view[position : position + self._left]
                self._take(piece)
                self._left -= len(piece)
                self._body += len(piece)
                position += len(piece)
                continue
            position = self._feed_chunk(data, view, position) or (
                position + self._feed_line(view[position : position + _MAX_LINE])
            )
        return position

    def _feed_chunk(self, data: bytes, view: memoryview, position: int) -> int:
        """Read a plain chunk that is there as a whole: its end, or 0 when it is another case."""
        if self._line or self._expects != self._size_line:
            return 0
        match = _PLAIN_SIZE.match(data, position)
        if match is None:
            return 0
        begin = match.end()
        size = int(match[1], 16)
        end = begin + size
        if not size or data[end : end + 2] != b"\r\n":
            return 0
        self._take(view[begin:end])
        self._body += size
        self._count(begin - position + 2)
        return end + 2

    def _feed_line(self, view: memoryview) -> int:
        """Read up to the end of a line; a whole line is acted upon."""
        data = bytes(view)
        end = data.find(b"\n")
        piece = data if end < 0 else data[: end + 1]
        self._line += piece
        self._count(len(piece))
        if end >= 0:
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise ChunksInvalid("a line that does not end with CR and LF")
            self._expects(line[:-2])
        return len(piece)

    def _count(self, size: int) -> None:
        self._overhead += size
        if self._expects == self._trailer_line:
            self._trailer += size
        too_much = self._overhead > _MAX_TRAILER + _MAX_OVERHEAD * self._body
        if self._trailer > _MAX_TRAILER or too_much or len(self._line) > _MAX_TRAILER:
            raise TrailerTooLarge

    def _size_line(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise ChunksInvalid("a chunk's size that is no hexadecimal number")
        self._left = int(match[1], 16)
        self._expects = self._chunk_end if self._left else self._trailer_line

    def _chunk_end(self, line: bytes) -> None:
        if line:
            raise ChunksInvalid("bytes behind a chunk's end")
        self._expects = self._size_line

    def _trailer_line(self, line: bytes) -> None:
        if not line:
            self.is_done = True
        elif not _FIELD.fullmatch(line):
            raise ChunksInvalid("a trailer that is no header")
