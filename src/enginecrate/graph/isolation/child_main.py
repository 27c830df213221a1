"""The isolated process: it answers calls until its parent is gone.

Started as `python -m enginecrate.graph.isolation.child_main FD`.
"""

from __future__ import annotations

import importlib
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path

import onnx  # noqa: F401 -- every call needs it, and nobody waits yet

from enginecrate.graph.isolation.wire import (
    FAILED,
    OK,
    OUT_OF_MEMORY,
    Answer,
    Request,
    receive_request,
    send,
)

__all__ = ["main"]


def main(descriptor: int) -> None:
    """Answer calls.

    Args:
        descriptor: of the socket to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent, which ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as channel:
        while True:
            try:
                request = receive_request(channel)
            except EOFError:
                return
            send(channel, _answer(request))


def _answer(request: Request) -> Answer:
    module, _, name = request.function.decode().partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        _limit(request)
        return Answer(OK, function(request.data))
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
    main(int(sys.argv[1]))
