"""A pool of transfers, all of which end when one fails or the user presses Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["TransferPool"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_GRACE = 2.0
"""Seconds that transfers have to end by themselves after Ctrl-C; those that hang are left."""


class _Stopped(Exception):
    """Another transfer failed: this one ends, too."""


class TransferPool:
    """Workers for transfers. Its threads never keep the program from ending."""

    def __init__(self, workers: int = 4) -> None:
        self._workers = workers
        self._stop = threading.Event()

    def each(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The results in the order of the items; the first error ends the rest and is raised."""
        transfers = _Transfers(work, items, self._stop)
        transfers.run(min(self._workers, len(items)))
        return transfers.results()

    def watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, until the pool is stopped."""
        for piece in chunks:
            if self._stop.is_set():
                raise _Stopped
            yield piece


class _Transfers(Generic[_T, _R]):
    def __init__(
        self, work: Callable[[_T], _R], items: Sequence[_T], stop: threading.Event
    ) -> None:
        self._work, self._items, self._stop = work, items, stop
        self._waiting = iter(range(len(items)))
        self._lock = threading.Lock()
        self._leaving = threading.Semaphore(0)
        self._results: dict[int, _R] = {}
        self._error: BaseException | None = None

    def run(self, workers: int) -> None:
        left = 0
        try:
            # Ctrl-C may also come while they are being started.
            for _ in range(workers):
                threading.Thread(target=self._work_and_leave, daemon=True).start()
            # Not `Thread.join`: when Ctrl-C interrupts it, Python 3.11 takes the thread for ended.
            while left < workers:
                self._leaving.acquire()
                left += 1
        except BaseException:
            self._stop.set()
            until = time.monotonic() + _GRACE
            while left < workers and self._leaving.acquire(
                timeout=max(0, until - time.monotonic())
            ):
                left += 1
            raise

    def results(self) -> list[_R]:
        if self._error is not None:
            raise self._error
        return [self._results[position] for position in range(len(self._items))]

    def _work_and_leave(self) -> None:
        try:
            self._serve()
        finally:
            self._leaving.release()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                position = next(self._waiting, None)
            if position is None:
                return
            try:
                self._results[position] = self._work(self._items[position])
            except BaseException as exc:
                with self._lock:
                    if self._error is None and not isinstance(exc, _Stopped):
                        self._error = exc
                self._stop.set()
