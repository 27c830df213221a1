"""A few threads for work that would hold up the event loop: decoding, encoding, compressing."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from enginecrate.errors import QueueFull

__all__ = ["Workers"]

P = ParamSpec("P")
T = TypeVar("T")
_Task = Callable[[], object]


class Workers:
    """A pool of daemon threads with a bounded queue.

    The pool of `concurrent.futures` has no bound, and its threads keep a process from ending.
    """

    def __init__(self, threads: int, *, max_pending: int, name: str = "worker") -> None:
        self._max_pending = max_pending
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._first: deque[_Task] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Tasks that wait for a thread."""
        return self._tasks.qsize()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread. A future that is cancelled before then is not run.

        Raises:
            QueueFull: too much waits already.
        """
        future: Future[T] = Future()
        self.post(partial(_settle, future, partial(function, *args, **kwargs)))
        return future

    def submit_first(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As `submit`, but before everything that waits, and never refused: see `post_first`."""
        future: Future[T] = Future()
        self.post_first(partial(_settle, future, partial(function, *args, **kwargs)))
        return future

    def post(self, task: _Task) -> None:
        """Run a function that takes care of its own result and errors.

        Raises:
            QueueFull: too much waits already.
        """
        if self._tasks.qsize() >= self._max_pending:
            raise QueueFull(
                f"{self._max_pending} pieces of work wait already (setting max_pending); "
                "try again after a moment"
            )
        self._tasks.put(task)

    def post_first(self, task: _Task) -> None:
        """As `post`, but before everything that waits, and never refused.

        For the last step of something whose costly part is done already.
        """
        self._first.append(task)
        self._tasks.put(None)

    def close(self) -> None:
        """Let the threads end once the queue is empty; does not wait for them."""
        self._closed = True
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()  # None only wakes
            while self._first:
                try:
                    first = self._first.popleft()
                except IndexError:  # another thread was faster
                    break
                first()
                del first
            if task is not None:
                task()
                del task  # an idle thread keeps no body alive
            elif self._closed and self._tasks.empty():
                return


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as exc:  # the waiting side decides
        future.set_exception(exc)
    else:
        future.set_result(result)
