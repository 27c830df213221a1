"""Folders of fetches that are going on. What a killed process left is found by the next one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from enginecrate.files.atomic import abandoned, scratch_folder

__all__ = ["WorkFolders"]

_NAME = "fetch"


class WorkFolders:
    """Those in one parent folder. Any thread may use it."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._open: set[Path] = set()

    @contextmanager
    def make(self) -> Iterator[Path]:
        """A new one, which is removed at the end. Raises `OSError`."""
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with scratch_folder(self._parent, _NAME) as work:
            self._open.add(work)
            try:
                yield work
            finally:
                self._open.discard(work)

    def abandoned(self, *, older_than: float = 0) -> Iterator[Path]:
        """Those whose process was killed, one after the other; each is removed afterwards.

        Args:
            older_than: seconds since something was put into it; others are left for later.
        """
        before = time.time() - older_than
        for work in abandoned(self._parent, _NAME):
            if work.stat().st_mtime <= before:
                yield work
                shutil.rmtree(work, ignore_errors=True)

    def size(self) -> int:
        """Bytes in those that this process has open, while they grow."""
        return sum(_size(work) for work in tuple(self._open))


def _size(work: Path) -> int:
    """A file that pip copies at the end counts once, by its name."""
    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(work):
        for name in names:
            with suppress(OSError):  # tools move their files about
                sizes[name] = max(sizes.get(name, 0), Path(folder, name).lstat().st_size)
    return sum(sizes.values())
