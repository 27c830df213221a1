"""Runs as one HTML page with charts, which needs no network and no scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from enginecrate.bench.result import BenchResult

__all__ = ["bench_page", "run_name"]

_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH, _HEIGHT = 640.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 20.0, 16.0, 44.0
_STEPS = (1, 2, 2.5, 5, 10)
_TICKS = 5


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place on an axis, in pixels, and its words."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class _Dot:
    """A measured point, in pixels; `label` beside it, `words` for who points at it."""

    x: float
    y: float
    label: str
    words: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A series of a chart."""

    name: str
    number: int
    dots: Sequence[_Dot]

    @property
    def points(self) -> str:
        """For `polyline`."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True)
class _Chart:
    """Everything that the template draws."""

    title: str
    x_title: str
    y_title: str
    x_marks: Sequence[_Mark]
    y_marks: Sequence[_Mark]
    lines: Sequence[_Line]
    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = _HEIGHT - _BOTTOM


def run_name(run: BenchResult) -> str:
    """The load of a run in few words."""
    if run.mode == "open":
        return f"{_rate(run)} {run.arrivals}"
    return f"{run.connections} connection{'s' if run.connections > 1 else ''}"


def bench_page(title: str, runs: Sequence[BenchResult], facts: Sequence[tuple[str, str]]) -> str:
    """Render the page; everything from outside is escaped.

    Args:
        title: of the page.
        runs: in the order in which they were made.
        facts: more rows for the head of the page, for example the outcome of a search.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    answered = [run for run in runs if run.latency_ms is not None]
    charts = [_throughput_chart(answered), _percentile_chart(answered)] if answered else []
    return environment.get_template("bench.html.jinja").render(
        title=title, runs=runs, facts=facts, charts=charts, run_name=run_name
    )


def _throughput_chart(runs: Sequence[BenchResult]) -> _Chart:
    """Throughput over latency: one dot a run, for the median and for the 99th percentile."""
    latencies = {
        name: [getattr(run.latency_ms, name) for run in runs] for name in ("p50", "p99")
    }  # fmt: skip
    x_most = _round_up(max(max(values) for values in latencies.values()))
    y_most = _round_up(max(run.throughput for run in runs))
    lines = []
    for number, (name, values) in enumerate(latencies.items()):
        dots = [
            _Dot(
                _x(value / x_most),
                _y(run.throughput / y_most),
                (_rate(run) if run.rate else str(run.connections)) if number else "",
                f"{run_name(run)}: {run.throughput:g} requests/s, {name} {value:g} ms",
            )
            for run, value in zip(runs, values, strict=True)
        ]
        lines.append(_Line(name, number, sorted(dots, key=lambda dot: -dot.y)))
    return _Chart(
        "Throughput over latency",
        "latency, ms",
        "requests/s",
        [_Mark(_x(value / x_most), f"{value:g}") for value in _marks(x_most)],
        [_Mark(_y(value / y_most), f"{value:g}") for value in _marks(y_most)],
        lines,
    )


def _percentile_chart(runs: Sequence[BenchResult]) -> _Chart:
    """Latency by percentile; each step to the right is ten times as rare."""
    shares = (0.0, 90.0, 99.0, 99.9, 99.99)
    farthest = _rareness(shares[-1])
    y_most = _round_up(max(ms for run in runs for _, ms in run.percentiles))
    lines = []
    for number, run in enumerate(runs):
        dots = [
            _Dot(
                _x(_rareness(share) / farthest),
                _y(ms / y_most),
                "",
                f"{run_name(run)}: {share:g} % of the requests within {ms:g} ms",
            )
            for share, ms in run.percentiles
            if share <= shares[-1]
        ]
        lines.append(_Line(run_name(run), number, dots))
    return _Chart(
        "Latency by percentile",
        "percentile",
        "latency, ms",
        [_Mark(_x(_rareness(share) / farthest), f"{share:g}") for share in shares],
        [_Mark(_y(value / y_most), f"{value:g}") for value in _marks(y_most)],
        lines,
    )


def _rate(run: BenchResult) -> str:
    return f"{run.rate:.1f}".removesuffix(".0") + "/s"


def _rareness(share: float) -> float:
    return -math.log10(1 - share / 100)


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _round_up(value: float) -> float:
    """The next round number, as the end of an axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value)


def _marks(most: float) -> list[float]:
    return [most * number / _TICKS for number in range(_TICKS + 1)]
