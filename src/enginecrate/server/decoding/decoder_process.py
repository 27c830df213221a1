"""The decoder process: it does what is costly, one photo at a time, and can be killed.

A library that decodes cannot be stopped half-way, a process can: when the client has gone, when the
time is over, when it takes more memory than its header said. The kernel ends it before it ends us
when memory runs out.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path

from enginecrate.errors import ImageTooCostly, MemoryLacking, SystemRefused
from enginecrate.files.locks import try_lock
from enginecrate.isolation.process import CallLimits, IsolatedProcess, Outcome
from enginecrate.isolation.wire import OK, OUT_OF_MEMORY
from enginecrate.pipelines.cost import DecodeCost

__all__ = ["IDLE_SECONDS", "Cancellation", "DecoderProcess"]

IDLE_SECONDS = 10.0
"""An idle process is ended: it would only take up memory."""

_MODULES = ("enginecrate.server.decoding.decoder_work",)
_NICENESS = 10
_SLACK_BYTES = 64 << 20
_TIME_FACTOR = 10
"""A slow or busy machine may take so many times what was estimated."""
_LEAST_SECONDS = 5
_LOCK_SECONDS = 0.02
_END_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Cancellation:
    """Tells a call that its result is not needed any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: IsolatedProcess | None = None
        self.is_set = False

    def cancel(self) -> None:
        """Kill the process that works for it, if one does."""
        with self._lock:
            self.is_set = True
            if self._running is not None:
                self._running.kill()

    @contextlib.contextmanager
    def running(self, process: IsolatedProcess) -> Iterator[None]:
        """Raises `CancelledError` when it is cancelled already."""
        with self._lock:
            if self.is_set:
                raise CancelledError
            self._running = process
        try:
            yield
        finally:
            with self._lock:
                self._running = None


class DecoderProcess:
    """Used by one thread, which waits for it; `close` may be called by any."""

    def __init__(self, *, seconds: float, lock: Path | None = None) -> None:
        """Start nothing yet.

        Args:
            seconds: longest time for one call, by the clock.
            lock: a file that processes of one server lock around a call, so that one at a time
                does something costly; `None` when there is one only. For a descriptor that was
                inherited it is its path in `/proc/self/fd`: opened anew, the lock is our own.
        """
        self._seconds = seconds
        self._lock_path = lock
        self._process: IsolatedProcess | None = None
        self._busy = threading.Lock()
        self._watch: threading.Timer | None = None
        self._closed = False

    def call(
        self,
        function: str,
        message: Sequence[bytes | memoryview],
        cost: DecodeCost,
        cancellation: Cancellation,
    ) -> bytes:
        """Call a function of `decoder_work`.

        Raises:
            CancelledError: the result is not needed any more.
            ImageTooCostly: it takes more time than its cost allows.
            MemoryLacking: the process got no more memory, or the kernel ended it.
            SystemRefused: no process can be started.
        """
        deadline = time.monotonic() + self._seconds
        with self._busy, self._alone(deadline, cancellation):
            process = self._started()
            try:
                with cancellation.running(process):
                    outcome = process.call(
                        f"{_MODULES[0]}:{function}", message, self._limits(cost, deadline)
                    )
            except BaseException:
                self._forget()
                raise
            if outcome.answer is None or cancellation.is_set:  # it may be killed by now
                self._forget()
            else:
                self._watch_idleness()
        return self._result(outcome, cancellation)

    def close(self) -> None:
        """End the process, and start no other."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        if self._busy.acquire(timeout=_END_SECONDS):  # whose call runs ends it itself
            self._forget()
            self._busy.release()

    def _limits(self, cost: DecodeCost, deadline: float) -> CallLimits:
        seconds = _LEAST_SECONDS + math.ceil(_TIME_FACTOR * cost.milliseconds / 1000)
        left = max(deadline - time.monotonic(), 0.1)
        return CallLimits(min(seconds, math.ceil(self._seconds)), cost.bytes + _SLACK_BYTES, left)

    def _result(self, outcome: Outcome, cancellation: Cancellation) -> bytes:
        answer, status = outcome.answer, outcome.status
        if cancellation.is_set:
            raise CancelledError
        if answer is not None and answer.status == OK:
            return answer.data
        if answer is None and -status in (signal.SIGXCPU, signal.SIGALRM):
            raise ImageTooCostly(
                "decoding the image takes longer than this server allows; send it smaller, or as "
                "an ordinary JPEG"
            )
        if answer is None or answer.status == OUT_OF_MEMORY:
            raise MemoryLacking(
                "there was not enough memory to decode the image, which may be right; try again "
                "after a moment, send it smaller, or as an ordinary JPEG"
            )
        raise RuntimeError(f"the decoder process failed:\n{answer.data.decode(errors='replace')}")

    @contextlib.contextmanager
    def _alone(self, deadline: float, cancellation: Cancellation) -> Iterator[None]:
        """Hold the lock that all processes of the server share; the kernel frees a dead one's."""
        if self._lock_path is None:
            yield
            return
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            while not try_lock(descriptor):
                if cancellation.is_set:
                    raise CancelledError
                if time.monotonic() > deadline:
                    raise MemoryLacking(
                        "other costly images are decoded at the moment; try again after a moment"
                    )
                time.sleep(_LOCK_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _started(self) -> IsolatedProcess:
        if self._closed:
            raise CancelledError
        if self._process is not None and not self._process.is_alive:
            self._forget()
        if self._process is None:
            try:
                self._process = IsolatedProcess(_MODULES, niceness=_NICENESS, bound=True)
            except OSError as exc:
                raise SystemRefused(
                    f"cannot start a process to decode a costly image: {exc.strerror}"
                ) from exc
        return self._process

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _watch_idleness(self) -> None:
        if self._watch is None and self._process is not None:
            rest = self._process.used + IDLE_SECONDS - time.monotonic()
            self._watch = threading.Timer(max(rest, 0.0), self._end_idle)
            self._watch.daemon = True
            self._watch.start()

    def _end_idle(self) -> None:
        with self._busy:
            self._watch = None
            process = self._process
            if process is not None and time.monotonic() >= process.used + IDLE_SECONDS:
                self._forget()
            self._watch_idleness()
