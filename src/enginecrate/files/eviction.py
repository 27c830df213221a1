"""Keep folders of cached things under a size: the least recently used go first.

A thing is a folder or a file whose name does not begin with a dot. When it was last used is its
own modification time, which `mark_used` sets. Whoever works with a thing pins it: a shared lock
that its process cannot forget to give back. Removing takes the exclusive lock, so what is pinned
stays, in other processes and containers, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from enginecrate.files.atomic import scratch_folder
from enginecrate.files.locks import claim, file_lock

__all__ = ["CORRUPT", "Pin", "evict", "mark_used", "prune_corrupt", "size_of"]

CORRUPT = ".corrupt"
"""Ends the names of damaged things that were set aside; these go first."""

_KEPT_CORRUPT = 3

_log = logging.getLogger(__name__)


class Pin:
    """Keeps a thing from being evicted until it is closed, or its process ends."""

    def __init__(self, path: Path) -> None:
        """Pin what is at this path. Raises `FileNotFoundError` when it is gone, or going."""
        descriptor = claim(path, shared=True)
        if descriptor is None:
            raise FileNotFoundError(2, "was just evicted or replaced", str(path))
        self._descriptor = descriptor

    def close(self) -> None:
        """Let it go. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Thing:
    path: Path
    used_ns: int
    size: int

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Damaged ones first, then the least recently used."""
        return (not self.path.name.endswith(CORRUPT), self.used_ns, self.path.name)


def mark_used(path: Path) -> None:
    """Note that a thing is used now; where the cache is read-only, nothing is noted."""
    now = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(path, ns=(now, now))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; what vanishes meanwhile counts nothing."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def evict(
    folders: Sequence[Path], limit: int, keep: Collection[Path] = (), *, suffix: str = ""
) -> tuple[Path, ...]:
    """Remove things from these folders until what is left has at most `limit` bytes.

    What is pinned, hidden, or in `keep` stays, so that more than `limit` may be left.

    Args:
        folders: each holds things; one that is missing counts as empty. The first holds the lock
            that lets only one process evict at a time.
        limit: bytes for all folders together; 0: no limit.
        keep: things that must stay.
        suffix: ends the names of things; what is named otherwise stays, and counts nothing.

    Returns:
        What was removed, in order.
    """
    if not limit or not folders or not folders[0].is_dir():
        return ()
    try:
        with file_lock(folders[0] / ".eviction.lock"):
            return _evict(_things(folders, suffix), limit, keep, folders[0].parent)
    except OSError as exc:  # a cache that cannot be tidied is still a cache
        _log.warning("cannot evict from %s: %s", folders[0], exc.strerror)
        return ()


def _evict(
    things: Sequence[_Thing], limit: int, keep: Collection[Path], cache: Path
) -> tuple[Path, ...]:
    total = sum(thing.size for thing in things)
    removed = []
    for thing in sorted(things, key=lambda thing: thing.rank):
        if total <= limit:
            break
        if thing.path not in keep and _remove(thing.path):
            _log.info("evicted %s from the cache (%d bytes)", thing.path, thing.size)
            total -= thing.size
            removed.append(thing.path)
    if total > limit:
        _log.warning(
            "the cache %s has %d bytes, more than cache_max_bytes allows (%d): the rest is in use",
            cache,
            total,
            limit,
        )
    return tuple(removed)


def prune_corrupt(folder: Path) -> None:
    """Remove all but the latest few damaged things that were set aside in a folder."""
    for thing in sorted(_things([folder], CORRUPT), key=lambda thing: thing.rank)[:-_KEPT_CORRUPT]:
        _remove(thing.path)


def _things(folders: Iterable[Path], suffix: str = "") -> list[_Thing]:
    found = []
    for folder in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in folder.iterdir():
                hidden = path.name.startswith(".") or path.is_symlink()
                if hidden or not path.name.endswith(suffix):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found.append(_Thing(path, path.stat().st_mtime_ns, size_of(path)))
    return found


def _remove(path: Path) -> bool:
    """Remove a thing that is not pinned: at once for others, whole or (if killed) later."""
    try:
        descriptor = claim(path)
    except OSError:
        return False
    if descriptor is None:
        return False
    try:
        # Under a temporary name, what is left of it when we are killed is swept by the next one.
        with scratch_folder(path.parent, path.name) as scratch:
            path.rename(scratch / path.name)
            if (scratch / path.name).is_dir():
                shutil.rmtree(scratch / path.name)
    except OSError as exc:
        _log.warning("cannot evict %s: %s", path, exc.strerror)
        return False
    finally:
        os.close(descriptor)
    return True
