"""Unpacked data on disk without a name: it vanishes with the last part that is in use."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from enginecrate.errors import ArchiveUnsafe
from enginecrate.image.layers.entries import PIECE

__all__ = ["NamelessFile", "Part"]


class NamelessFile:
    """A file that no folder lists. Any thread may read it."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="enginecrate-")
        os.unlink(name)  # noqa: PTH108  the name is not needed as a Path
        self.descriptor = descriptor
        self.size = 0
        self._close = weakref.finalize(self, os.close, descriptor)

    def fill(self, pieces: Iterable[bytes], limit: int, where: str) -> None:
        """Append pieces. Raises `ArchiveUnsafe` beyond `limit` bytes in all."""
        for piece in pieces:
            self.size += len(piece)
            if self.size > limit:
                raise ArchiveUnsafe(
                    f"{where} unpacks to more than {limit >> 20} MiB; it is damaged, or made to "
                    "fill the disk: get it again"
                )
            view = memoryview(piece)
            while view:
                view = view[os.write(self.descriptor, view) :]

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.descriptor, size, offset)


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a `NamelessFile`, as the content of an entry."""

    file: NamelessFile
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        done = 0
        while done < self.size:
            piece = self.file.read(min(PIECE, self.size - done), self.offset + done)
            if not piece:
                raise OSError("a temporary file was shortened while it was in use")
            done += len(piece)
            yield piece

    def read(self) -> bytes:
        return b"".join(self.pieces())
