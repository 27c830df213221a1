"""Folders of fetches that are going on. What a killed process left is found by the next one.

Each has a lock file beside it, which its process holds as long as it lives: it is there before the
folder is, so a folder whose lock is free belongs to nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["WorkFolders"]

_PREFIX = "fetch-"
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What another user has left, or lies in a cache that is only read, is left alone."""
_MOMENT = 3600
"""Seconds; far more than it takes to make a folder."""


class WorkFolders:
    """Those in one parent folder. Every method raises `OSError`. Any thread may use it."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._open: set[Path] = set()

    @contextmanager
    def make(self) -> Iterator[Path]:
        """A new one, which is removed at the end."""
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        work = self._parent / f"{_PREFIX}{secrets.token_hex(8)}"
        with _lock_of(work).open("x") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                work.mkdir(mode=0o700)
                self._open.add(work)
                yield work
            finally:
                self._open.discard(work)
                _remove(work)

    def abandoned(self, *, older_than: float = 0) -> Iterator[Path]:
        """Those whose process was killed, one after the other; each is removed afterwards.

        Args:
            older_than: seconds since something was put into it; others are left for later.
        """
        before = time.time() - older_than
        for work in sorted({path.with_suffix("") for path in self._parent.glob(f"{_PREFIX}*")}):
            lock = _free_lock(work)
            if lock is None:
                continue
            with lock:
                if not work.is_dir():
                    # One that is being made has its lock already, and holds it a moment later.
                    if os.fstat(lock.fileno()).st_mtime < time.time() - _MOMENT:
                        _remove(work)
                elif work.stat().st_mtime <= before:
                    yield work
                    _remove(work)

    def size(self) -> int:
        """Bytes in those that this process has open, while they grow."""
        return sum(_size(work) for work in tuple(self._open))


def _lock_of(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")


def _free_lock(work: Path) -> IO[str] | None:
    """The lock of a folder, held now; `None`: a living process has it, or it is not ours."""
    try:
        # Only a folder without a lock gets one: a lock alone may be going just now.
        lock = _lock_of(work).open("a" if work.is_dir() else "r+")
    except OSError as exc:
        if exc.errno in (*_NOT_OURS, errno.ENOENT):
            return None
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _remove(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    _lock_of(work).unlink(missing_ok=True)


def _size(work: Path) -> int:
    """What pip copies at the end counts once, by its name."""
    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(work):
        for name in names:
            with suppress(OSError):  # tools move their files about
                sizes[name] = max(sizes.get(name, 0), Path(folder, name).lstat().st_size)
    return sum(sizes.values())
