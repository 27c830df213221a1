"""A load run: several processes send, and their counts are added together here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from enginecrate.bench.arrivals import split_arrivals
from enginecrate.bench.histogram import Histogram
from enginecrate.bench.messages import Arrivals, Job, Start, Stop, Tick
from enginecrate.bench.processes import LoadProcesses
from enginecrate.bench.windows import STABLE_WINDOWS, Window, Windows, is_stable
from enginecrate.bench.wire import Address, Payload, Span, request_bytes

__all__ = ["LOOPBACK", "LoadPlan", "Measured", "Observer", "process_count", "run_load"]

_NS = 1_000_000_000
_LEAD_SECONDS = 0.02
"""From the order to start until the start, so that all processes begin together."""
_SAMPLE_SECONDS = 0.25
_CONNECTIONS_EACH = 8
"""Connections of a process before another one is taken."""
_RATE_EACH = 5000.0
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
"""Hosts that are this machine."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The requests to send, and for how long.

    payloads: sent in turn. requests: how many to measure; 0: as many as fit into `seconds`.
    stable: the part of an answer that two right answers to the same payload share; `None`: all.
    rate: of an open loop, a second; 0: a closed loop. poisson: arrivals in random distances.
    connections: the most that an open loop opens. processes: 0: by load and cores.
    tolerance: within which three windows agree. patience: go on until they do, at most so many
    seconds; 0: measure `seconds`, and tell whether they did.
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
    tolerance: float = 0.1
    patience: float = 0.0


@dataclass(slots=True)
class Measured:
    """The measurements after the warm-up.

    latencies: of each request that was answered with 200. lag: how late the load itself was.
    errors: how many others there were, by reason.
    answers: how often each stable part was the answer, by payload and part; varied: answers that
    were too many to be kept.
    seconds: how long it took. windows: whole parts of it. stable: whether the last three agree.
    processes: how many sent. busy: share of its time in which each of them worked or waited for a
    core; starved: in which it waited. interrupted: whether Ctrl-C ended it.
    """

    latencies: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    varied: int = 0
    seconds: float = 0.0
    windows: list[Window] = field(default_factory=list)
    stable: bool = False
    processes: int = 1
    busy: tuple[float, ...] = ()
    starved: tuple[float, ...] = ()
    interrupted: bool = False


class Observer(Protocol):
    """Looks at a run. All but `advanced` is called in a thread beside the run."""

    def begin(self) -> None: ...  # the measurement begins
    def sample(self) -> None: ...  # four times a second until it ends
    def advanced(self, measured: Measured, seconds: float) -> None: ...  # below 0: the warm-up


class _Unobserved:
    def begin(self) -> None:
        """Do nothing, as all of them."""

    def sample(self) -> None: ...
    def advanced(self, measured: Measured, seconds: float) -> None: ...


def run_load(plan: LoadPlan, observer: Observer | None = None) -> Measured:
    """Send requests. Ctrl-C ends it early, with what there is by then.

    Nothing is raised for what a server does; it is counted.

    Raises:
        SystemRefused: a load process could not start, or was killed.
    """
    run = _Run(plan, observer or _Unobserved())
    with asyncio.Runner() as runner:
        runner.run(run.run())
    return run.measured


def process_count(plan: LoadPlan) -> int:
    """The number of load processes, by load and by cores; a server beside them gets half."""
    cores = len(os.sched_getaffinity(0))
    most = max(1, cores // 2 if plan.address.host in LOOPBACK else cores)
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

    def __init__(self, plan: LoadPlan, observer: Observer) -> None:
        self._plan = plan
        self._observer = observer
        self._count = process_count(plan)
        self.measured = Measured(processes=self._count)
        self._start = Start(0, 0, 0)
        self._windows = Windows(0, 1, 1)
        self._processes: LoadProcesses | None = None
        self._worked = [(0, 0, 0)] * self._count
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
        until = 0 if plan.requests else measure + round((plan.patience or plan.seconds) * _NS)
        self._start = Start(begin, measure, until)
        self._windows = Windows(measure, plan.seconds / STABLE_WINDOWS, self._count)
        self._processes = processes
        processes.tell(self._start)
        observation = asyncio.create_task(self._observe())
        try:
            await processes.listen(self._take)
        except asyncio.CancelledError:  # Ctrl-C
            self.measured.interrupted = True
            self._last = time.monotonic_ns()
            processes.tell(Stop(drop=True))
            await processes.listen(self._take)
        observation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await observation

    async def _observe(self) -> None:
        await asyncio.sleep(max(0, self._start.measure - time.monotonic_ns()) / _NS)
        await asyncio.to_thread(self._observer.begin)
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            await asyncio.to_thread(self._observer.sample)

    def _take(self, number: int, tick: Tick) -> None:
        """Add up what a process has counted."""
        measured = self.measured
        measured.latencies.merge(tick.latencies)
        measured.lag.merge(tick.lag)
        measured.errors.update(tick.errors)
        for payload, part, count in tick.answers:
            measured.answers[self._plan.payloads[payload].name, part] += count
        measured.varied += tick.varied
        if tick.begin >= self._start.measure:
            self._windows.add(number, tick)
            if not tick.done:
                whole, cpu, wait = self._worked[number]
                self._worked[number] = (
                    whole + tick.end - tick.begin, cpu + tick.cpu_ns, wait + tick.wait_ns,
                )  # fmt: skip
        if not measured.interrupted:
            self._last = max(self._last, tick.last)
        self._observer.advanced(measured, (tick.end - self._start.measure) / _NS)
        self._look_for_stability()

    def _look_for_stability(self) -> None:
        plan, measured = self._plan, self.measured
        if not plan.patience or measured.stable or self._processes is None:
            return
        windows = self._windows.whole()
        if is_stable(windows, plan.tolerance):
            measured.stable, measured.windows = True, windows
            self._processes.tell(Stop())

    def _close(self) -> None:
        measured, start, plan = self.measured, self._start, self._plan
        measured.seconds = max(0, self._last - start.measure) / _NS
        worked = [row for row in self._worked if row[0]]
        measured.busy = tuple((cpu + wait) / whole for whole, cpu, wait in worked)
        measured.starved = tuple(wait / whole for whole, _, wait in worked)
        if plan.requests:
            return
        if not measured.stable:
            measured.windows = self._windows.until(min(self._last, start.until))
            measured.stable = is_stable(measured.windows, plan.tolerance)
        if plan.patience and measured.windows:
            _keep_last(measured)


def _keep_last(measured: Measured) -> None:
    """Let the figures be those of the last windows."""
    last = measured.windows[-STABLE_WINDOWS:]
    measured.latencies = Histogram()
    for window in last:
        measured.latencies.merge(window.latencies.part())
    measured.seconds = sum(window.seconds for window in last)
