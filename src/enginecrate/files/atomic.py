"""Files and folders that appear whole or not at all, even when the writer is killed.

A writer works under a temporary name and renames at the end. While it lives it holds a lock
(`flock`) on what it writes; the lock dies with its process. So anybody who can take the lock of a
temporary name knows that its writer is gone, and may remove it. Process ids would not do: they
are used again, and mean nothing across containers that share a cache volume.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["scratch_folder", "sweep", "sync_folder", "write_atomic", "write_synced"]

_SUFFIX = ".partial"


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder `.NAME.RANDOM.partial` in `parent`, for the caller to fill and rename.

    Whatever is still there under the temporary name at the end is removed. Raises `OSError`.
    """
    while True:
        folder = parent / f".{name}.{secrets.token_hex(8)}{_SUFFIX}"
        folder.mkdir(mode=0o700)
        descriptor = _lock(folder)
        if descriptor is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old or the new one, never a part. Raises `OSError`.

    Its mode follows the umask. What killed writers of this very file left behind is removed.
    """
    sweep(path.parent, path.name)
    while True:
        partial = path.parent / f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}"
        partial.touch(exist_ok=False)
        descriptor = _lock(partial)
        if descriptor is not None:
            break
    try:
        write_synced(partial, data)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk. Raises `OSError`."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(parent: Path, name: str = "") -> int:
    """Remove what killed writers left in `parent`; with `name`: only of this file or folder.

    What a living writer holds stays. A folder that cannot be read or written is left alone.

    Returns:
        How many names were removed.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for partial in parent.glob(f".{glob.escape(name)}*{_SUFFIX}"):
            removed += _remove_abandoned(partial)
    return removed


def _remove_abandoned(partial: Path) -> bool:
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()
    except OSError:  # its writer lives, has just renamed it, or the file system is read-only
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(path: Path) -> int | None:
    """Lock a new file or folder; `None` when a sweeper was quicker and removed it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, where no sweeper can take one either
        return descriptor
    if os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        return None
    return descriptor
