"""The result of a load run: speed, and whether the answers were right."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from enginecrate.bench.load import LoadPlan, Measured
from enginecrate.bench.statistics import Latency, summarize

__all__ = ["BenchResult", "Check", "make_result"]

Check = Callable[[str, bytes], str]
"""Called with a payload's name and the stable part of an answer: why it is wrong, or empty."""

_SHOWN = 5


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a run.

    seconds: of the measurement, without the warm-up. requests: answered with 200.
    throughput: of these, for each second. errors: the others, by reason.
    wrong: answers that came with 200 and are not right; `wrong_reasons` names a few.
    checked: whether answers were compared with known ones; else only with each other.
    answers: how many different ones came. interrupted: ended by Ctrl-C.
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

    @property
    def passed(self) -> bool:
        """True when there were answers, all of them right, and no error."""
        return bool(self.requests) and not self.errors and not self.wrong


def make_result(plan: LoadPlan, measured: Measured, check: Check | None) -> BenchResult:
    """Judge a run. `check`: of each different answer; without it nothing is known to be right."""
    judged = {
        (name, part): check(name, part) if check else "" for name, part in measured.answers
    }  # fmt: skip
    wrong = [(key, reason) for key, reason in judged.items() if reason]
    requests = measured.latencies.count
    return BenchResult(
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
    )
