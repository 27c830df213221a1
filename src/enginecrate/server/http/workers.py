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

from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.memory.trim import give_back_free_memory
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

_LARGE = 8 << 20
"""Bytes of tasks after which free memory is given back to the system, once there is a pause."""

_IDLE_SECONDS = 1.0


Withdraw = Callable[[], bool]
"""Takes a task back; `False` when it is begun already."""


class _Waiting:
    """A task in a queue. `memory`: bytes that it takes while it runs."""

    __slots__ = ("client", "gate", "memory", "run")

    def __init__(self, run: _Task, client: Client, gate: Gate | None, memory: int = 0) -> None:
        self.run = run
        self.client = client
        self.gate = gate
        self.memory = memory


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
        budget: MemoryBudget | None = None,
    ) -> None:
        """Start the threads.

        Args:
            threads: how many.
            max_pending: tasks that may wait.
            queue_seconds: work that may wait, as the time that it takes.
            name: of the threads.
            budget: of memory, which other pools may share; `None`: memory does not count.
        """
        self.threads = threads
        self._max_pending = max_pending
        self._name = name
        self._aside: Workers | None = None
        self.budget = budget
        if budget is not None:
            budget.on_freed(self._wake)
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

    def submit_aside(
        self, client: Client, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As `submit`, in one further thread: for what takes long now and then.

        It must not take the threads from those whose work is short.

        Raises:
            QueueFull: too much waits already, or the client's share of it.
        """
        with self._lock:
            if self._aside is None:
                self._aside = Workers(1, max_pending=self._max_pending, name=f"{self._name}-aside")
        future: Future[T] = Future()
        call = partial(_settle, future, partial(function, *args, **kwargs))
        self._aside.post(call, client=client)
        return future

    def submit_first(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As `submit`, but before everything that waits, and never refused: see `post_first`."""
        future: Future[T] = Future()
        self.post_first(partial(_settle, future, partial(function, *args, **kwargs)))
        return future

    def check(self, client: Client | None, cost: float, *, ahead: float = 0.0) -> None:
        """Find out whether a task with a gate may enter, by what it costs now.

        Args:
            client: who it is for.
            cost: of each such task, as it is known by now.
            ahead: cost of what has passed the gate and is waited for, too.

        Raises:
            QueueFull: too much waits, or the client has its share of it already.
        """
        with self._lock:
            self._gated.check(client or own_client(), cost, each=cost, ahead=ahead)

    def post(
        self,
        task: _Task,
        *,
        client: Client | None = None,
        cost: float = _SMALL_TASK_SECONDS,
        gate: Gate | None = None,
        memory: int = 0,
    ) -> Withdraw:
        """Run a function that takes care of its own result and errors.

        Args:
            task: the function.
            client: who it is for: clients take turns. `None`: the server itself.
            cost: estimated seconds of a thread.
            gate: while it is shut, the task is not begun.
            memory: bytes that it takes; it begins when they fit the budget.

        Raises:
            QueueFull: too much waits already, or the client has its share of it.
        """
        waiting = _Waiting(task, client or own_client(), gate, memory)
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
        if self._aside is not None:
            self._aside.close()
        for _ in self._threads:
            self._wakes.put(None)

    def _work(self) -> None:
        used = 0
        while True:
            try:
                self._wakes.get(timeout=self._patience(used))
            except queue.Empty:
                if used >= _LARGE and not self.waiting:
                    give_back_free_memory()
                    used = 0
            while (found := self._next()) is not None:
                task, memory = found
                try:
                    task()
                finally:
                    del task, found  # an idle thread keeps no body alive
                    self._give_back(memory)
                used += memory
            if self._closed:
                return

    def _patience(self, used: int) -> float | None:
        if len(self._gated):
            return _GATE_SECONDS
        return _IDLE_SECONDS if used >= _LARGE else None

    def _next(self) -> tuple[_Task, int] | None:
        with contextlib.suppress(IndexError):
            return self._first.popleft(), 0
        with self._lock:
            for tasks in (self._free, self._gated):
                waiting = tasks.head()
                if waiting is not None and self._may_begin(waiting):
                    tasks.pop()
                    return waiting.run, waiting.memory
        return None

    def _may_begin(self, waiting: _Waiting) -> bool:
        is_open = self._closed or waiting.gate is None or waiting.gate()
        return is_open and (self.budget is None or self.budget.try_take(waiting.memory))

    def _give_back(self, memory: int) -> None:
        if self.budget is not None:
            self.budget.give_back(memory)

    def _wake(self) -> None:
        """Memory was given back: what lacked it may begin."""
        if self.waiting:
            self._wakes.put(None)

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
