"""Files and folders that appear whole or not at all, even when the writer is killed.

A writer works under a temporary name, `.NAME.RANDOM.partial`, and renames at the end. While it
lives it holds a lock on it. So a process that can take the lock of a temporary name knows that its
writer is gone, and may remove it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from enginecrate.errors import SystemRefused
from enginecrate.files.locks import claim, is_at, wait_for_lock

__all__ = [
    "ScratchFile",
    "abandoned",
    "check_writable",
    "scratch_file",
    "scratch_folder",
    "sweep",
    "sync_folder",
    "write_atomic",
    "write_synced",
]

_NAME_BYTES = 200
"""Most of a name that a temporary one repeats: file systems allow 255 in all."""
_PARTIAL = re.compile(r"\.(?:(?P<name>.*)\.)?[0-9a-f]+\.partial", re.DOTALL)


class ScratchFile:
    """A file under a temporary name. `file`: to write into."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self.file = path, file

    def keep(self, target: Path) -> None:
        """Give it its own name, in the same folder, once it is on the disk. Raises `OSError`."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._path.replace(target)
        sync_folder(target.parent)


@contextmanager
def scratch_file(parent: Path, name: str = "") -> Iterator[ScratchFile]:
    """A new file for the caller to fill and keep; else it is removed. Raises `OSError`.

    Its mode follows the umask.
    """
    path, descriptor = _held(parent, name, _new_file)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor is no path
            yield ScratchFile(path, file)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path, name: str, mode: int = 0o700) -> Iterator[Path]:
    """A new folder for the caller to fill and rename; else it is removed. Raises `OSError`."""
    path, descriptor = _held(parent, name, lambda path: _new_folder(path, mode))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, or where it would be made; writes nothing.

    For work that takes long and writes at its end.

    Raises:
        SystemRefused: they cannot.
    """
    folder = folder.absolute()
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not there.is_dir():
        reason = f"{there} is not a folder"
    elif os.access(there, os.W_OK | os.X_OK):
        return
    else:
        reason = f"{there} may not be written to"
    raise SystemRefused(
        f"cannot write into {folder}: {reason}; correct its permissions, or choose another folder"
    )


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old or the new one, never a part. Raises `OSError`.

    Its mode follows the umask. What killed writers of this very file left behind is removed.
    """
    sweep(path.parent, path.name)
    with scratch_file(path.parent, path.name) as scratch:
        scratch.file.write(data)
        scratch.keep(path)


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


def sweep(parent: Path, name: str | None = None) -> int:
    """Remove what killed writers left in `parent`; with `name`: only of this file or folder.

    What a living writer holds stays. A folder that cannot be read or written is left alone.

    Returns:
        How many names were removed.
    """
    return sum(_is_removed(path) for path in abandoned(parent, name))


def abandoned(parent: Path, name: str | None = None) -> Iterator[Path]:
    """Names that killed writers left in `parent`, one by one, each locked for the caller."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(parent))  # noqa: PTH208  only names are needed
    for partial in names:
        match = _PARTIAL.fullmatch(partial)
        if match is None or (name is not None and match["name"] != _short(name)):
            continue
        try:
            descriptor = claim(parent / partial)
        except OSError:  # it is gone, a link, or not ours
            continue
        if descriptor is None:
            continue
        try:
            yield parent / partial
        finally:
            os.close(descriptor)


def _is_removed(path: Path) -> bool:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:  # it was renamed just now, or the file system is read-only
        return False
    return True


def _held(parent: Path, name: str, new: Callable[[Path], int | None]) -> tuple[Path, int]:
    """Make something under a temporary name, and lock it: its path and the lock's descriptor."""
    stem = f".{_short(name)}" if name else ""
    while True:
        path = parent / f"{stem}.{secrets.token_hex(8)}.partial"
        descriptor = new(path)
        if descriptor is None:
            continue
        with contextlib.suppress(OSError):  # without locks no sweeper can take one either
            wait_for_lock(descriptor)
        if is_at(path, descriptor):
            return path, descriptor
        os.close(descriptor)  # a sweeper was quicker


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_NAME_BYTES])


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _new_folder(path: Path, mode: int) -> int | None:
    path.mkdir(mode=mode)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # a sweeper was quicker
        return None
