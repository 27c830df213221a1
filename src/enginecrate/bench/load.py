"""A load run: several processes send, and their counts are added together here."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from enginecrate.bench.arrivals import split_arrivals
from enginecrate.bench.histogram import Histogram
from enginecrate.bench.messages import Arrivals, Job, Start, Stop, Tick
from enginecrate.bench.processes import LoadProcesses
from enginecrate.bench.wire import Address, Payload, Span, request_bytes
from enginecrate.values import Progress, no_progress

__all__ = ["LoadPlan", "Measured", "process_count", "run_load"]

_NS = 1_000_000_000
_STEP = "send requests"
_LEAD_SECONDS = 0.02
"""From the order to start until the start, so that all processes begin together."""
_CONNECTIONS_EACH = 8
"""Connections of a process before another one is taken."""
_RATE_EACH = 5000.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The requests to send, and for how long.

    payloads: sent in turn. requests: how many to measure; 0: as many as fit into `seconds`.
    stable: the part of an answer that two right answers to the same payload share; `None`: all.
    rate: of an open loop, a second; 0: a closed loop. poisson: arrivals in random distances.
    connections: the most that an open loop opens. processes: 0: by load and cores.
    """

    address: Address
    payloads: Sequence[Payload]
    connections: int = 4
    warmup_seconds: float = 2.0
    seconds: float = 10.0
    requests: int = 0
    timeout: float = 30.0
    stable: Span | None = None
    rate: float = 0.0
    poisson: bool = True
    seed: int = 1
    processes: int = 0


@dataclass(slots=True)
class Measured:
    """The measurements after the warm-up.

    latencies: of each request that was answered with 200. lag: how late the load itself was.
    errors: how many others there were, by reason.
    answers: how often each stable part was the answer, by payload and part; varied: answers that
    were too many to be kept.
    seconds: how long it took. processor: share of a core that each load process took.
    interrupted: whether Ctrl-C ended it.
    """

    latencies: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    varied: int = 0
    seconds: float = 0.0
    processor: tuple[float, ...] = ()
    interrupted: bool = False


def run_load(plan: LoadPlan, progress: Progress = no_progress) -> Measured:
    """Send requests. Ctrl-C ends it early, with what there is by then.

    Nothing is raised for what a server does; it is counted.

    Raises:
        SystemRefused: a load process could not start, or was killed.
    """
    run = _Run(plan, progress)
    with asyncio.Runner() as runner:
        runner.run(run.run())
    return run.measured


def process_count(plan: LoadPlan) -> int:
    """The number of load processes, by load and by cores; a server beside them gets half."""
    cores = len(os.sched_getaffinity(0))
    most = max(1, cores // 2 if plan.address.host in _LOOPBACK else cores)
    wanted = plan.rate / _RATE_EACH if plan.rate else plan.connections / _CONNECTIONS_EACH
    count = plan.processes or min(most, max(1, round(wanted)))
    return min(count, plan.connections, plan.requests or count)


def _jobs(plan: LoadPlan, count: int) -> list[Job]:
    requests = [request_bytes(plan.address, payload) for payload in plan.payloads]
    arrivals: Sequence[Arrivals | None] = [None] * count
    if plan.rate:
        arrivals = split_arrivals(plan.rate, count, poisson=plan.poisson, seed=plan.seed)
    first = 0
    jobs = []
    for number in range(count):
        most = _share(plan.requests, count, number) if plan.requests else -1
        jobs.append(
            Job(
                address=plan.address,
                requests=requests,
                first=first,
                connections=_share(plan.connections, count, number),
                most=most,
                timeout=plan.timeout,
                stable=plan.stable,
                arrivals=arrivals[number],
            )
        )
        first = (first + max(most, 1)) % len(requests)
    return jobs


def _share(whole: int, parts: int, number: int) -> int:
    """One of the nearly equal parts of a number."""
    return whole // parts + (number < whole % parts)


class _Run:
    """State of one run."""

    def __init__(self, plan: LoadPlan, progress: Progress) -> None:
        self.measured = Measured()
        self._plan = plan
        self._progress = progress
        self._count = process_count(plan)
        self._start = Start(0, 0, 0)
        self._cpu_ns = [0] * self._count
        self._cpu_until = [0] * self._count
        self._last = 0

    async def run(self) -> None:
        try:
            async with LoadProcesses(_jobs(self._plan, self._count)) as processes:
                await self._run(processes)
        except asyncio.CancelledError:  # Ctrl-C while the processes started
            self.measured.interrupted = True
        self._close()

    async def _run(self, processes: LoadProcesses) -> None:
        plan = self._plan
        begin = time.monotonic_ns() + round(_LEAD_SECONDS * _NS)
        measure = begin + round(plan.warmup_seconds * _NS)
        until = 0 if plan.requests else measure + round(plan.seconds * _NS)
        self._start = Start(begin, measure, until)
        processes.tell(self._start)
        try:
            await processes.listen(self._take)
        except asyncio.CancelledError:  # Ctrl-C
            self.measured.interrupted = True
            self._last = time.monotonic_ns()
            processes.tell(Stop(drop=True))
            await processes.listen(self._take)

    def _take(self, number: int, tick: Tick) -> None:
        """Add up what a process has counted."""
        measured = self.measured
        measured.latencies.merge(tick.latencies)
        measured.lag.merge(tick.lag)
        measured.errors.update(tick.errors)
        for payload, part, count in tick.answers:
            measured.answers[self._plan.payloads[payload].name, part] += count
        measured.varied += tick.varied
        if tick.begin >= self._start.measure and not tick.done:
            self._cpu_ns[number] += tick.cpu_ns
            self._cpu_until[number] = tick.end
        if not measured.interrupted:
            self._last = max(self._last, tick.last)
        self._tell(tick.end)

    def _close(self) -> None:
        measured, start = self.measured, self._start
        measured.seconds = max(0, self._last - start.measure) / _NS
        measured.processor = tuple(
            ns / (until - start.measure)
            for ns, until in zip(self._cpu_ns, self._cpu_until, strict=True)
            if until
        )

    def _tell(self, now: int) -> None:
        plan = self._plan
        if now <= self._start.measure:
            self._progress("warm up", 0, 0)
        elif plan.requests:
            done = self.measured.latencies.count + self.measured.errors.total()
            self._progress(_STEP, done, plan.requests)
        else:
            over = (now - self._start.measure) / _NS
            self._progress(_STEP, round(over * 1000), round(plan.seconds * 1000))
