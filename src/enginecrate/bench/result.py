"""The result of a load run: speed, whether the answers were right, and whether to trust it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from enginecrate.bench.host import HostUse
from enginecrate.bench.load import LoadPlan, Measured
from enginecrate.bench.server_statistics import ServerUse
from enginecrate.bench.statistics import Latency, summarize
from enginecrate.bench.windows import STABLE_WINDOWS, Window

__all__ = ["BenchResult", "Check", "Reference", "WindowResult", "kept_up", "make_result"]

Check = Callable[[str, bytes], str]
"""Called with a payload's name and the stable part of an answer: why it is wrong, or empty."""

Reference = Literal["golden", "alone", "none"]
"""The right answers: golden samples, or what each payload got alone before the load."""

_SHOWN = 5
_SHARES = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
_BUSY = 0.9
_STARVED = 0.1
_BEHIND = 0.95
_LAG_MS = 1.0


class WindowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the measurement."""

    seconds: float
    requests: int
    throughput: float
    mean_ms: float


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a run.

    seconds: of the measurement, without the warm-up. requests: answered with 200.
    throughput: of these, for each second. errors: the others, by reason.
    wrong: answers that came with 200 and are not right; `wrong_reasons` names a few.
    checked: whether answers were compared with known ones; else only with each other.
    reference: which known ones. answers: how many different ones came.
    interrupted: ended by Ctrl-C.
    mode: a closed loop of `connections`, or an open one of `rate` requests a second with
    `arrivals`. percentiles: share in percent, milliseconds. windows: parts of the measurement;
    stable: whether the last three agree (`null`: the measurement was not by time).
    processes: that sent; load_busy: share of its time in which the busiest of them worked or
    waited for a core; lag_ms: 99 of 100 requests of an open loop were sent at most so late by the
    load itself. server: its own statistics over the run. host: the use of this machine.
    notes: reasons to distrust the figures.
    """

    connections: int
    payloads: int
    warmup_seconds: float
    seconds: float
    requests: int
    throughput: float
    latency_ms: Latency | None
    errors: Mapping[str, int]
    wrong: int
    wrong_reasons: tuple[str, ...]
    checked: bool
    answers: int
    interrupted: bool
    mode: Literal["closed", "open"] = "closed"
    rate: float = 0.0
    arrivals: Literal["", "constant", "poisson"] = ""
    reference: Reference = "none"
    percentiles: tuple[tuple[float, float], ...] = ()
    windows: tuple[WindowResult, ...] = ()
    stable: bool | None = None
    processes: int = 1
    load_busy: float = 0.0
    lag_ms: float = 0.0
    server: ServerUse | None = None
    host: HostUse | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when there were answers, all of them right, and no error."""
        return bool(self.requests) and not self.errors and not self.wrong


def kept_up(result: BenchResult) -> float:
    """The least share of its rate that an open loop must reach: random arrivals may be fewer."""
    by_chance = 3 / math.sqrt(max(result.requests, 1)) if result.arrivals == "poisson" else 0.0
    return _BEHIND - by_chance


def make_result(
    plan: LoadPlan,
    measured: Measured,
    check: Check | None,
    *,
    reference: Reference = "golden",
    server: ServerUse | None = None,
    host: HostUse | None = None,
) -> BenchResult:
    """Judge a run. `check`: of each different answer; without it nothing is known to be right."""
    judged = {
        (name, part): check(name, part) if check else "" for name, part in measured.answers
    }  # fmt: skip
    wrong = [(key, reason) for key, reason in judged.items() if reason]
    requests = measured.latencies.count
    result = BenchResult(
        connections=plan.connections,
        payloads=len(plan.payloads),
        warmup_seconds=plan.warmup_seconds,
        seconds=round(measured.seconds, 3),
        requests=requests,
        throughput=round(requests / measured.seconds, 2) if measured.seconds else 0.0,
        latency_ms=summarize(measured.latencies),
        errors=dict(sorted(measured.errors.items())),
        wrong=sum(measured.answers[key] for key, _ in wrong),
        wrong_reasons=tuple(sorted({f"{key[0]}: {reason}" for key, reason in wrong})[:_SHOWN]),
        checked=check is not None,
        answers=len(measured.answers),
        interrupted=measured.interrupted,
        mode="open" if plan.rate else "closed",
        rate=plan.rate,
        arrivals=("poisson" if plan.poisson else "constant") if plan.rate else "",
        reference=reference if check else "none",
        percentiles=_percentiles(measured),
        windows=tuple(_window(window) for window in measured.windows),
        stable=None if plan.requests else measured.stable,
        processes=measured.processes,
        load_busy=round(max(measured.busy, default=0.0), 3),
        lag_ms=round(measured.lag.percentile(99) / 1e6, 3) if measured.lag.count else 0.0,
        server=server,
        host=host,
    )
    return msgspec.structs.replace(result, notes=tuple(_notes(result, plan, measured)))


def _percentiles(measured: Measured) -> tuple[tuple[float, float], ...]:
    latencies = measured.latencies
    if not latencies.count:
        return ()
    least = latencies.least_ns
    return tuple(
        (share, round((latencies.percentile(share) if share else least) / 1e6, 3))
        for share in _SHARES
    )


def _window(window: Window) -> WindowResult:
    return WindowResult(
        seconds=round(window.seconds, 3),
        requests=window.latencies.count,
        throughput=round(window.throughput, 2),
        mean_ms=round(window.mean_ns / 1e6, 3),
    )


def _notes(result: BenchResult, plan: LoadPlan, measured: Measured) -> Iterator[str]:
    """Reasons to distrust the figures, one sentence each."""
    if not result.requests:
        reason = max(result.errors, key=lambda why: result.errors[why], default="")
        where = f"{plan.address.host}:{plan.address.port}"
        yield f"nothing was answered: {reason or 'no request ended'}; is the server at {where} up?"
        return
    yield from _load_notes(result, measured)
    if result.mode == "open" and result.throughput < result.rate * kept_up(result):
        yield (
            f"the server answered {result.throughput:.1f} of {result.rate:g} requests a second: "
            "it does not keep up, and latencies grow with the length of the run"
        )
    if result.stable is False and not result.interrupted:
        rates = ", ".join(f"{one.throughput:.0f}" for one in result.windows[-STABLE_WINDOWS:])
        yield (
            f"not stable: the last windows do not agree within {plan.tolerance:.0%} in throughput "
            f"and mean latency (throughput {rates or 'unknown'}); --until-stable 60 goes on"
        )
    if measured.varied:
        yield f"{measured.varied} answers were not examined: too many different ones came"


def _load_notes(result: BenchResult, measured: Measured) -> Iterator[str]:
    starved = max(measured.starved, default=0.0)
    if starved >= _STARVED:
        yield (
            f"a load process waited for a core for {starved:.0%} of the time: other work on this "
            "machine disturbs the measurement"
        )
    elif result.load_busy >= _BUSY:
        yield (
            f"the load itself was the limit: a load process used {result.load_busy:.0%} of a "
            "core; use more --processes where there are cores, or another machine for the load"
        )
    if result.lag_ms > _LAG_MS:
        yield f"the load sent requests late (99 of 100 at most {result.lag_ms:.1f} ms)"
