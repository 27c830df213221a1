"""What the first process of a container owes to the others: signals passed on, the dead buried.

The kernel drops a signal that process 1 has no handler for, and makes it the parent of every
orphan. So the program runs in a child, and process 1 does nothing but this. It imports next to
nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

__all__ = ["become_init"]

_FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Raised by a process's own mistakes: these it keeps."""

_TERMINAL = {signal.SIGTTIN, signal.SIGTTOU}
"""What a process of the background gets from its terminal: nobody else's business."""


def become_init() -> None:
    """Go on in a child process; returns only there.

    The calling process passes on every signal, waits for all children, adopted ones too, and ends
    when the child does: with its exit code, or with 128 + the number of the signal that killed it.
    """
    watched = signal.valid_signals() - _FAULTS
    # Blocked signals wait for `sigwaitinfo`: none is lost, and none is handled at a bad moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_watch(child, watched))


def _take_terminal() -> None:
    """A process group of our own gets Ctrl-C once: from the terminal, and not from init as well."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):  # standard input is no terminal
        os.tcsetpgrp(0, os.getpgrp())


def _watch(child: int, watched: Collection[int]) -> int:
    while True:
        number = signal.sigwaitinfo(watched).si_signo
        if number == signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        elif number not in _TERMINAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Wait for everybody who has ended. Returns the child's exit code once it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            if process == child:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended
    return code
