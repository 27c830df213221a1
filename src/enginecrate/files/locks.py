"""Locks over threads, processes and containers that share a volume.

Each is an `flock`. The kernel frees it when its holder ends, however it ends: no process waits for
a dead one. Process ids would not do: they are used again, and mean nothing in another container.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["claim", "file_lock", "is_at", "try_lock", "wait_for_lock"]

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF}
"""Answers of file systems without locks, or without locks on folders."""


def _quietly() -> None:
    """Says nothing about the waiting."""


@contextmanager
def file_lock(
    path: Path, waiting: Callable[[], None] = _quietly, *, keep: bool = False
) -> Iterator[None]:
    """Hold a lock that is a file of its own, which is there as long as it is held.

    A process that had to wait looks first whether the work is done by now. Where the file system
    has no locks, nothing is locked.

    Args:
        path: of the file, in an existing folder.
        waiting: called once when another holder has the lock.
        keep: the file stays. For locks that earlier versions hold without looking if the file is
            still at its path.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = _acquire(path, waiting)
    try:
        yield
    finally:
        if not keep:
            path.unlink(missing_ok=True)  # while it is held: the next holder makes it anew
        os.close(descriptor)


def claim(path: Path, *, shared: bool = False, create: bool = False) -> int | None:
    """Open a file or a folder, no link, and lock it for as long as the descriptor is open.

    Args:
        path: where it is.
        shared: others may share the lock.
        create: make the file where it is missing, and open it for reading and writing.

    Returns:
        The descriptor; `None` when another process holds the lock, or has just moved the file away.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    try:
        # Without locks, a shared use may go on, and an exclusive one may not.
        if _lock(descriptor, operation, without_locks=shared) and is_at(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def wait_for_lock(descriptor: int) -> None:
    """Lock an open file or folder; where the file system has no locks, nothing is locked."""
    _lock(descriptor, fcntl.LOCK_EX, without_locks=True)


def try_lock(descriptor: int) -> bool:
    """Lock an open file unless it is locked; without locks on the file system: always `True`."""
    return _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, without_locks=True)


def is_at(path: Path, descriptor: int) -> bool:
    """True while the open file or folder has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _acquire(path: Path, waiting: Callable[[], None]) -> int:
    said = False
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, without_locks=True):
                if not said:
                    waiting()
                    said = True
                wait_for_lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed it


def _lock(descriptor: int, operation: int, *, without_locks: bool) -> bool:
    """True when the lock is held now. `without_locks`: the answer of a file system without them."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in _WITHOUT_LOCKS:
            raise
        return without_locks
    return True
