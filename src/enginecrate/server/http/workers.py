"""A few threads for work that would hold up the event loop: decoding, encoding, compressing.

Clients take turns, as in front of the engines. Photos wait here as they were sent, and are decoded
only when the engine will soon have a use for them: a decoded one is ten times as large.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from enginecrate.server.scheduling.client import Client, own_client
from enginecrate.server.scheduling.fair_queue import FairQueue

__all__ = ["Gate", "Withdraw", "Workers"]

P = ParamSpec("P")
T = TypeVar("T")
_Task = Callable[[], object]

Gate = Callable[[], bool]
"""True when something may begin."""

_SMALL_TASK_SECONDS = 0.001
"""The cost of what has no estimate of its own."""

_GATE_SECONDS = 0.05
"""A gate that is shut is looked at again after each task, and after this time."""


Withdraw = Callable[[], bool]
"""Takes a task back; `False` when it is begun already."""


class _Waiting:
    """A task in a queue."""

    __slots__ = ("client", "gate", "run")

    def __init__(self, run: _Task, client: Client, gate: Gate | None) -> None:
        self.run = run
        self.client = client
        self.gate = gate


class Workers:
    """A pool of daemon threads with bounded queues.

    The pool of `concurrent.futures` has no bound, and its threads keep a process from ending.
    """

    def __init__(
        self,
        threads: int,
        *,
        max_pending: int,
        queue_seconds: float = math.inf,
        name: str = "worker",
    ) -> None:
        """Start the threads.

        Args:
            threads: how many.
            max_pending: tasks that may wait.
            queue_seconds: work that may wait, as the time that it takes.
            name: of the threads.
        """
        self.threads = threads
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._first: deque[_Task] = deque()
        bounds = (max_pending, queue_seconds * threads, "pieces of work")
        self._free: FairQueue[_Waiting] = FairQueue(*bounds)
        self._gated: FairQueue[_Waiting] = FairQueue(*bounds)
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
        return len(self._free) + len(self._gated)

    @property
    def estimated_wait_seconds(self) -> float:
        """How long a task would wait that came now, if no gate is shut."""
        return (self._free.cost + self._gated.cost) / self.threads

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

    def check(self, client: Client | None, cost: float) -> None:
        """Raises `QueueFull` when `post` would refuse such a task with a gate."""
        with self._lock:
            self._gated.check(client or own_client(), cost)

    def post(
        self,
        task: _Task,
        *,
        client: Client | None = None,
        cost: float = _SMALL_TASK_SECONDS,
        gate: Gate | None = None,
    ) -> Withdraw:
        """Run a function that takes care of its own result and errors.

        Args:
            task: the function.
            client: who it is for: clients take turns. `None`: the server itself.
            cost: estimated seconds of a thread.
            gate: while it is shut, the task is not begun.

        Raises:
            QueueFull: too much waits already, or the client has its share of it.
        """
        waiting = _Waiting(task, client or own_client(), gate)
        with self._lock:
            self._queue(waiting).push(waiting, waiting.client, cost)
        self._wakes.put(None)
        return partial(self._withdraw, waiting)

    def post_first(self, task: _Task) -> None:
        """As `post`, but before everything that waits, and never refused.

        For the last step of something whose costly part is done already.
        """
        self._first.append(task)
        self._wakes.put(None)

    def close(self) -> None:
        """Let the threads end once the queue is empty; does not wait for them."""
        self._closed = True
        for _ in self._threads:
            self._wakes.put(None)

    def _work(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=_GATE_SECONDS if len(self._gated) else None)
            while (task := self._next()) is not None:
                task()
                del task  # an idle thread keeps no body alive
            if self._closed:
                return

    def _next(self) -> _Task | None:
        with contextlib.suppress(IndexError):
            return self._first.popleft()
        with self._lock:
            waiting = self._free.pop()
            if waiting is None and self._may_begin(self._gated.head()):
                waiting = self._gated.pop()
        return waiting.run if waiting is not None else None

    def _may_begin(self, waiting: _Waiting | None) -> bool:
        return waiting is not None and (self._closed or waiting.gate is None or waiting.gate())

    def _queue(self, waiting: _Waiting) -> FairQueue[_Waiting]:
        return self._free if waiting.gate is None else self._gated

    def _withdraw(self, waiting: _Waiting) -> bool:
        with self._lock:
            return self._queue(waiting).remove(waiting, waiting.client)


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as exc:  # the waiting side decides
        future.set_exception(exc)
    else:
        future.set_result(result)
