"""The load: a closed loop. Each connection sends its next request once the last is answered."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from enginecrate.bench.wire import Address, Answer, Connection, Payload
from enginecrate.values import Progress, no_progress

__all__ = ["LoadPlan", "Measured", "run_load"]

_PAUSE_SECONDS = 0.1
"""After an error, so that a server that is not there does not become a busy loop."""

_STEP = "send requests"
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The requests to send, and for how long.

    payloads: sent in turn. requests: how many to measure; 0: as many as fit into `seconds`.
    stable: the part of an answer that two right answers to the same payload share.
    """

    address: Address
    payloads: Sequence[Payload]
    connections: int = 4
    warmup_seconds: float = 2.0
    seconds: float = 10.0
    requests: int = 0
    timeout: float = 30.0
    stable: Callable[[bytes], bytes] = bytes


@dataclass(slots=True)
class Measured:
    """The measurements after the warm-up.

    latencies: seconds of each request that was answered with 200.
    errors: how many others there were, by reason.
    answers: how often each stable part was the answer, by payload and part.
    seconds: how long it took. interrupted: whether Ctrl-C ended it.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    seconds: float = 0.0
    interrupted: bool = False


def run_load(plan: LoadPlan, progress: Progress = no_progress) -> Measured:
    """Send requests. Ctrl-C ends it early, with what there is by then.

    Nothing is raised for what a server does; it is counted.
    """
    loop = _Loop(plan, progress)
    with asyncio.Runner() as runner:
        runner.run(loop.run())
    return loop.measured


class _Loop:
    """State that all connections share; they run in one thread."""

    def __init__(self, plan: LoadPlan, progress: Progress) -> None:
        self.measured = Measured()
        self._plan = plan
        self._progress = progress
        self._next = 0
        self._left = 0
        self._until = 0.0
        self._measuring = False

    async def run(self) -> None:
        plan = self._plan
        started = time.perf_counter()
        try:
            if plan.warmup_seconds:
                await self._send_all(plan.warmup_seconds, 0)
            self._measuring = True
            started = time.perf_counter()
            await self._send_all(plan.seconds, plan.requests)
        except asyncio.CancelledError:  # Ctrl-C
            self.measured.interrupted = True
        if self._measuring:
            self.measured.seconds = time.perf_counter() - started

    async def _send_all(self, seconds: float, requests: int) -> None:
        """Until the time is over, or so many requests were sent."""
        self._left = requests or -1
        self._until = float("inf") if requests else time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(self._send()) for _ in range(self._plan.connections)]
            while not all(sender.done() for sender in senders):
                self._tell(requests, seconds)
                await asyncio.wait(senders, timeout=_LOOK_SECONDS)

    async def _send(self) -> None:
        plan = self._plan
        connection = Connection(plan.address)
        try:
            while self._left and time.perf_counter() < self._until:
                self._left -= 1
                payload = plan.payloads[self._next % len(plan.payloads)]
                self._next += 1
                await self._send_one(connection, payload)
        finally:
            connection.close()

    async def _send_one(self, connection: Connection, payload: Payload) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._plan.timeout):
                answer = await connection.send(payload)
        except TimeoutError:
            self._count(f"no answer within {self._plan.timeout:g} s")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
            self._count(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__)
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            self._take(payload, answer, time.perf_counter() - started)

    def _take(self, payload: Payload, answer: Answer, seconds: float) -> None:
        if answer.status != 200:
            self._count(f"status {answer.status}")
        elif self._measuring:
            self.measured.latencies.append(seconds)
            self.measured.answers[payload.name, self._plan.stable(answer.body)] += 1

    def _count(self, reason: str) -> None:
        if self._measuring:
            self.measured.errors[reason] += 1

    def _tell(self, requests: int, seconds: float) -> None:
        if not self._measuring:
            self._progress("warm up", 0, 0)
        elif requests:
            self._progress(_STEP, requests - self._left, requests)
        else:
            over = seconds - (self._until - time.perf_counter())
            self._progress(_STEP, round(over * 1000), round(seconds * 1000))
