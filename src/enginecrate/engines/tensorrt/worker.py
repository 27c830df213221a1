"""Build one plan in a process of its own: a request on standard input, the plan on standard
output.

Why a process of its own:
- whatever the libraries print, or a crash of theirs, does not reach the caller;
- it can be killed at any moment, which is how Ctrl-C stops a build;
- it runs at fixed addresses, alone and with nothing else in its memory. The builder walks through
  tables that are ordered by address, so that elsewhere it gives other bytes each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from typing import BinaryIO, NoReturn

import msgspec

from enginecrate.engines.tensorrt.bindings import load_library
from enginecrate.engines.tensorrt.builder import Refused, Report, compile_plan
from enginecrate.engines.tensorrt.protocol import Answer, Refusal, Request, Step
from enginecrate.engines.tensorrt.protocol import read_frame as read
from enginecrate.engines.tensorrt.protocol import write_frame as write
from enginecrate.errors import BackendUnavailable

__all__ = ["main"]

_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)
_QUERY = 0xFFFFFFFF
_STACK = 8 * 2**20
_FOLDERS = 100


def main() -> None:
    """Read the request, build, answer with the plan or a refusal."""
    fixed = _fix_addresses()
    source = sys.stdin.buffer
    # Whatever the libraries print must not mix with the answer.
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        request = msgspec.json.decode(read(source)[1], type=Request)
        model, timing_cache = read(source)[1], read(source)[1]
        try:
            library = load_library(request.backend)
            done = compile_plan(library, request, model, timing_cache, _report(output))
        except Refused as exc:
            write(output, b"R", msgspec.json.encode(exc.refusal))
            return
        except BackendUnavailable as exc:
            refusal = Refusal("unavailable", errors=(str(exc),))
            write(output, b"R", msgspec.json.encode(refusal))
            return
        write(output, b"A", msgspec.json.encode(Answer(fixed, done.notes)))
        write(output, b"P", done.plan)
        write(output, b"T", done.timing_cache)


def _report(output: BinaryIO) -> Report:
    def report(step: str, done: int, total: int) -> bool:
        try:
            write(output, b"S", msgspec.json.encode(Step(step, done, total)))
        except OSError:  # the parent is gone; TensorRT must not see an exception of Python's
            return False
        return True

    return report


def _fix_addresses() -> bool:
    """Begin again at fixed addresses, unless that is done.

    Returns:
        Whether they are fixed; `False` where address space randomisation cannot be turned off.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    now = libc.personality(ctypes.c_ulong(_QUERY))
    if now == -1:
        return False
    fixed = bool(now & _ADDR_NO_RANDOMIZE)
    if not fixed and libc.personality(ctypes.c_ulong(now | _ADDR_NO_RANDOMIZE)) != -1:
        _begin_again()
    return fixed


def _begin_again() -> NoReturn:
    """This program anew, with paths that are the same wherever we are installed."""
    # An unlimited stack would move everything else.
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, hard))
    folders = os.environ["PYTHONPATH"].split(os.pathsep)
    for number, folder in enumerate(folders, _FOLDERS):
        os.dup2(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), number, inheritable=True)
    places = (f"/proc/self/fd/{number}" for number in range(_FOLDERS, _FOLDERS + len(folders)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    python = getattr(sys, "_base_executable", sys.executable)
    os.execve(python, [python, *sys.orig_argv[1:]], environment)  # noqa: S606 -- ourselves


if __name__ == "__main__":
    main()
