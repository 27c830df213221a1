"""One builder at a time for one thing, over threads, processes and containers on one volume.

The lock is an `flock` on a file beside what is built. The kernel frees it when its holder ends,
however it ends, so nobody ever waits for the dead; process ids would not do, since they are used
again and mean nothing in another container. A waiter that gets the lock looks first whether the
thing is there by now.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["build_lock"]

_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""File systems without locks: two may then build the same thing, and the first one's is kept."""


def _nobody() -> None:
    """Says nothing about the waiting."""


@contextmanager
def build_lock(folder: Path, name: str, waiting: Callable[[], None] = _nobody) -> Iterator[None]:
    """Hold the lock `.NAME.lock` in an existing folder. Raises `OSError`.

    Args:
        folder: where the thing appears.
        name: of the thing.
        waiting: called once when somebody else holds the lock.
    """
    path = folder / f".{name}.lock"
    descriptor = _acquire(path, waiting)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits for it makes it anew
        os.close(descriptor)


def _acquire(path: Path, waiting: Callable[[], None]) -> int:
    said = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(descriptor, fcntl.LOCK_NB):
                if not said:
                    waiting()
                    said = True
                _lock(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed it


def _lock(descriptor: int, flags: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in _WITHOUT_LOCKS:
            raise
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
