"""Downloads that broke off, kept until another run goes on with them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from enginecrate.values import Digest

__all__ = ["Partial", "open_partial"]

_PIECE = 1 << 20
_KEPT_SECONDS = 7 * 24 * 3600.0


class Partial:
    """The first bytes of a blob, in a file that this process alone uses until `close`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._full = False

    def pieces(self) -> Iterator[bytes]:
        """What is there already; afterwards `append` goes on behind it."""
        self._file.seek(0)
        yield from iter(lambda: self._file.read(_PIECE), b"")

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def append(self, piece: bytes) -> None:
        """Keep a piece; a disk that is full only means that nothing more is kept."""
        if not self._full:
            try:
                self._file.write(piece)
                self._file.flush()
            except OSError:
                self._full = True

    def clear(self) -> None:
        """Forget what is there."""
        self._file.seek(0)
        self._file.truncate()

    def remove(self) -> None:
        """The blob is complete, or of no use."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def open_partial(folder: Path | None, digest: Digest) -> Partial | None:
    """The kept part of a blob, perhaps empty; None when there is no folder that can be used, or
    another process is loading the same blob.
    """
    if folder is None:
        return None
    path = folder / digest.hex
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _drop_old(folder)
        file = path.open("a+b")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner may have finished and removed it between opening and locking.
        if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return Partial(path, file)
    except OSError:
        pass
    file.close()
    return None


def _drop_old(folder: Path) -> None:
    before = time.time() - _KEPT_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()
