"""Notices at the start that this process may start no thread, and says why.

Every library for numbers starts threads while it is imported. Where it may not, it ends the process
with words of its own, or interrupts it.
"""

from __future__ import annotations

import errno
import threading

from enginecrate.errors import SystemRefused

__all__ = ["check_threads"]

_CLONE3 = 435
"""Of every architecture."""


def check_threads() -> None:
    """Start a thread that does nothing. Raises `SystemRefused`, with the cure."""
    thread = threading.Thread(target=int, daemon=True)
    try:
        thread.start()
    except RuntimeError as exc:
        raise SystemRefused(_reason()) from exc
    thread.join()


def _reason() -> str:
    import ctypes

    # Without arguments the call is invalid. Permission is refused before that is noticed.
    ctypes.CDLL(None, use_errno=True).syscall(_CLONE3, 0, 0)
    if ctypes.get_errno() == errno.EPERM:
        return (
            "no thread can be started: the container's seccomp profile answers EPERM to the system "
            "call clone3; upgrade to Docker 20.10.10 or Podman with libseccomp 2.5 at least, or "
            "run it with --security-opt seccomp=FILE: a profile that allows clone3, or answers "
            "ENOSYS"
        )
    return (
        "no thread can be started: the limit on processes is reached (`ulimit -u`; of a "
        "container --pids-limit), or memory is; raise it"
    )
