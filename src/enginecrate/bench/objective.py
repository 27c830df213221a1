"""The highest rate at which a latency objective holds: `p99=50ms`."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from enginecrate.bench.result import BenchResult, kept_up
from enginecrate.errors import UsageError

__all__ = ["Objective", "SearchResult", "highest_rate", "parse_objective"]

_UNITS = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}
_FIGURES = {
    "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99.9": "p999", "p999": "p999",
    "mean": "mean", "max": "maximum",
}  # fmt: skip
_WRITTEN = re.compile(r"([a-z0-9.]+)(?:=|<=|<)(\d+(?:\.\d+)?)(us|µs|ms|s)")
_FIRST = 0.7
"""Of the closed loop's throughput: the first rate that is tried."""
_LEAST = 0.02
"""Of it, too: below, nothing holds."""
_GROWTH = 1.3
_STEP_DOWN = 0.95
_MOST_TRIALS = 14
_MOST_CONFIRMATIONS = 5


class Objective(msgspec.Struct, frozen=True):
    """A figure of `Latency` that must not pass a limit in milliseconds."""

    name: str
    figure: str
    limit_ms: float

    def __str__(self) -> str:
        return f"{self.name}={self.limit_ms:g}ms"

    def holds(self, result: BenchResult) -> bool:
        """True when every request was answered right, and fast enough."""
        latency = result.latency_ms
        if not result.passed or latency is None:
            return False
        least = result.rate * kept_up(result)
        return result.throughput >= least and getattr(latency, self.figure) <= self.limit_ms


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a search.

    rate: the highest that held, twice; 0: none did. trials: every rate that was tried, in order,
    and whether the objective held.
    """

    objective: str
    rate: float
    trials: tuple[tuple[float, bool], ...]
    runs: tuple[BenchResult, ...]
    interrupted: bool


def parse_objective(text: str) -> Objective:
    """Read `p99=50ms`.

    Raises:
        UsageError: it is none.
    """
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None or found[1] not in _FIGURES or not float(found[2]):
        raise UsageError(
            f"--slo {text}: write a figure and its limit, for example p99=50ms; figures: "
            f"{', '.join(_FIGURES)}; units: us, ms, s"
        )
    return Objective(found[1], _FIGURES[found[1]], float(found[2]) * _UNITS[found[3]])


def highest_rate(
    run: Callable[[float], BenchResult],
    objective: Objective,
    *,
    guess: float,
    precision: float = 0.05,
) -> SearchResult:
    """Search by bisection; the rate that is found has held in two runs.

    Args:
        run: a run of the open loop at a rate.
        objective: that must hold.
        guess: requests a second that the server answers in a closed loop.
        precision: relative distance between a rate that holds and one that does not.
    """
    search = _Search(run, objective)
    rate = search.between(guess, precision)
    rate = search.confirmed(rate)
    return SearchResult(
        objective=str(objective),
        rate=rate,
        trials=tuple(search.trials),
        runs=tuple(search.runs),
        interrupted=search.interrupted,
    )


class _Search:
    """The runs of one search."""

    def __init__(self, run: Callable[[float], BenchResult], objective: Objective) -> None:
        self._run = run
        self._objective = objective
        self.trials: list[tuple[float, bool]] = []
        self.runs: list[BenchResult] = []
        self.interrupted = False

    def between(self, guess: float, precision: float) -> float:
        """The highest rate that has held once; 0 without one."""
        low, high = 0.0, 0.0
        rate = max(guess * _FIRST, 0.1)
        for _ in range(_MOST_TRIALS):
            if self._try(rate):
                low = rate
            elif self.interrupted:
                break
            else:
                high = rate
            if high and (high - low <= precision * high or high < guess * _LEAST):
                break
            rate = (low + high) / 2 if high else low * _GROWTH
        return low

    def confirmed(self, rate: float) -> float:
        """The rate, or a lower one, once it has held again; 0 when none does."""
        for _ in range(_MOST_CONFIRMATIONS if rate else 0):
            if self.interrupted:
                break
            if self._try(rate):
                return rate
            rate *= _STEP_DOWN
        return 0.0

    def _try(self, rate: float) -> bool:
        result = self._run(rate)
        self.runs.append(result)
        if result.interrupted:
            self.interrupted = True
            return False
        held = self._objective.holds(result)
        self.trials.append((round(rate, 2), held))
        return held
