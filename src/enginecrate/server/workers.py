"""A few threads for work that would hold up the event loop: decoding, encoding, compressing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from enginecrate.errors import QueueFull

__all__ = ["Workers"]

P = ParamSpec("P")
T = TypeVar("T")
_Task = tuple[Future[Any], Callable[[], Any]]


class Workers:
    """A pool of daemon threads with a bounded queue.

    The pool of `concurrent.futures` has no bound, and its threads keep a process from ending.
    """

    def __init__(self, threads: int, *, max_pending: int, name: str = "worker") -> None:
        self._max_pending = max_pending
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread. A future that is cancelled before then is not run.

        Raises:
            QueueFull: too much waits already.
        """
        if self._tasks.qsize() >= self._max_pending:
            raise QueueFull(
                f"{self._max_pending} pieces of work wait already; try again after a moment"
            )
        future: Future[T] = Future()
        self._tasks.put((future, lambda: function(*args, **kwargs)))
        return future

    def close(self) -> None:
        """Let the threads end once the queue is empty; does not wait for them."""
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as exc:  # whoever waits for the future decides
                future.set_exception(exc)
            else:
                future.set_result(result)
            del task, future, call  # an idle thread keeps no body alive
            result = None
