"""Runs a function in a process of its own, which may take only so much memory and time."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from dataclasses import dataclass

from enginecrate.errors import ModelTooCostly, SystemRefused
from enginecrate.isolation.process import CallLimits, IsolatedProcess, Outcome
from enginecrate.isolation.wire import OK, OUT_OF_MEMORY, Answer

__all__ = ["Budget", "budget_for", "run_isolated", "start", "stop"]

_MODULES = ("onnx",)
"""Every call needs it."""
_MIB = 2**20

_MEMORY, _MEMORY_FACTOR = 512 * _MIB, 8
_CPU_SECONDS, _BYTES_A_SECOND, _NODES_A_SECOND = 5, 16 * _MIB, 4_000
_WALL_FACTOR, _WALL_SECONDS = 10, 20
"""On a busy machine the clock runs much faster than the process. What sleeps has an end, too."""

IDLE_SECONDS = 10.0
"""A server reads its model once: after that the process would only take up memory."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a call may take: seconds of processor time, and bytes of memory."""

    cpu_seconds: int
    memory_bytes: int

    def __str__(self) -> str:
        return f"{self.cpu_seconds} s of processor time or {self.memory_bytes // _MIB:,} MiB"


def budget_for(model_bytes: int, nodes: int) -> Budget:
    """Work on a model may take what an honest one of its size needs several times over."""
    seconds = _CPU_SECONDS + model_bytes // _BYTES_A_SECOND + nodes // _NODES_A_SECOND
    return Budget(seconds, _MEMORY + _MEMORY_FACTOR * model_bytes)


def run_isolated(function: str, data: bytes, budget: Budget, what: str) -> bytes:
    """Call a function in the isolated process of this program.

    The process is started by the first call, and serves later ones, one at a time; it is ended
    when it has been idle for `IDLE_SECONDS`.

    Args:
        function: `module:function`; it takes bytes and returns bytes.
        data: its argument.
        budget: the limits of this call.
        what: the work and its object, for the error: `checking model.onnx`.

    Raises:
        ModelTooCostly: the limits were reached, or the process died, which ends what it did.
        SystemRefused: no process can be started.
        RuntimeError: the function raised something, with its traceback; or the process failed.
    """
    with _lock:
        outcome = _call(function, data, budget)
        _watch_idleness()
    answer, status = outcome.answer, outcome.status
    if answer is None and status >= 0:
        raise RuntimeError(f"{what} failed: its process ended with status {status}")
    if answer is None or answer.status == OUT_OF_MEMORY:
        raise ModelTooCostly(
            f"{what} takes more than {_reached(answer, status, budget)}; that is the limit for a "
            "model of this size. Look for nodes that make huge tensors, or functions that call one "
            "another again and again, and export the model again"
        )
    if answer.status != OK:
        raise RuntimeError(f"{what} failed:\n{answer.data.decode(errors='replace')}")
    return answer.data


def start() -> None:
    """Start the process ahead of the first call, which then need not wait for it.

    Raises:
        SystemRefused: no process can be started.
    """
    with _lock:
        _child()
        _watch_idleness()


def stop() -> None:
    """End the process, which gives its memory back at once. The next call starts another."""
    with _lock:
        while _children:
            _children.pop().end()


def _reached(answer: Answer | None, status: int, budget: Budget) -> str:
    if answer is not None:
        return f"{budget.memory_bytes // _MIB:,} MiB of memory"
    if -status in (signal.SIGXCPU, signal.SIGALRM):
        return f"{budget.cpu_seconds} s of processor time"
    return f"{budget}: its process was ended by {signal.Signals(-status).name}"


_lock = threading.RLock()
_children: list[IsolatedProcess] = []
"""At most one. A list, so that importing this module starts nothing."""
_watches: list[threading.Timer] = []
"""At most one, while there is a child."""


def _call(function: str, data: bytes, budget: Budget) -> Outcome:
    child = _child()
    seconds = _WALL_SECONDS + _WALL_FACTOR * budget.cpu_seconds
    try:
        outcome = child.call(
            function, [data], CallLimits(budget.cpu_seconds, budget.memory_bytes, seconds)
        )
    except BaseException:
        _forget(child)
        raise
    if outcome.answer is None:
        _forget(child)
    return outcome


def _child() -> IsolatedProcess:
    if _children and _children[0].owner != os.getpid():
        _children.pop().end()
        _watches.clear()
    if not _children:
        try:
            _children.append(IsolatedProcess(_MODULES))
        except OSError as exc:
            raise SystemRefused(
                f"cannot start a process to check the model: {exc.strerror}"
            ) from exc
    return _children[0]


def _forget(child: IsolatedProcess) -> None:
    if child in _children:
        _children.remove(child)


def _watch_idleness() -> None:
    if not _children or _watches:
        return
    rest = _children[0].used + IDLE_SECONDS - time.monotonic()
    watch = threading.Timer(max(rest, 0.0), _end_idle)
    watch.daemon = True
    _watches.append(watch)
    watch.start()


def _end_idle() -> None:
    with _lock:
        _watches.clear()
        if _children and time.monotonic() >= _children[0].used + IDLE_SECONDS:
            _children.pop().end()
        _watch_idleness()


atexit.register(stop)
