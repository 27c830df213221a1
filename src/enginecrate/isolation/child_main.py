"""The isolated process: it answers calls until its parent is gone.

Started as `python -m enginecrate.isolation.child_main FD NICENESS PARENT MODULE...`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from enginecrate.isolation.wire import (
    FAILED,
    OK,
    OUT_OF_MEMORY,
    Answer,
    Request,
    receive_request,
    send,
)

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, niceness: int, parent: int, modules: Sequence[str]) -> None:
    """Answer calls.

    Args:
        descriptor: of the socket to the parent.
        niceness: added to the parent's.
        parent: the process without which this one shall not live; 0: it ends between two calls.
        modules: imported at once: every call needs them, and nobody waits yet.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent, which ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(niceness)
    if parent:
        _die_with(parent)
    with contextlib.suppress(OSError):  # the kernel ends us rather than our parent
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for module in modules:
        importlib.import_module(module)
    with socket.socket(fileno=descriptor) as channel:
        while True:
            try:
                request = receive_request(channel)
            except EOFError:
                return
            send(channel, _answer(request))


def _die_with(parent: int) -> None:
    """Be killed when the thread of the parent ends that has started us (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was faster
        sys.exit()


def _answer(request: Request) -> Answer:
    module, _, name = request.function.decode().partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        _limit(request)
        return Answer(OK, function(b"".join(request.data)))
    except MemoryError:
        return Answer(OUT_OF_MEMORY, b"")
    except Exception:
        return Answer(FAILED, traceback.format_exc().encode(errors="replace"))
    finally:
        _unlimit()


def _limit(request: Request) -> None:
    """The limits of one call: the kernel ends the process, or refuses more memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + request.cpu_seconds
    _set_soft(resource.RLIMIT_CPU, seconds)
    _set_soft(resource.RLIMIT_AS, _address_space() + request.memory_bytes)


def _unlimit() -> None:
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
        _set_soft(kind, resource.RLIM_INFINITY)


def _set_soft(kind: int, limit: int) -> None:
    """Up to the hard limit, which is the administrator's, and which only he may raise."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = hard if limit == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, hard))


def _address_space() -> int:
    """Bytes of this process's address space (proc(5), /proc/pid/statm)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
