"""Statistics of latencies: percentiles, mean, extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["Latency", "percentile", "summarize"]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, from the first byte that is sent to the last one that comes back."""

    minimum: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank).

    A value that was measured, and none between two of them.

    Args:
        ordered: at least one value, smallest first.
        share: 0..100.
    """
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def summarize(seconds: Sequence[float]) -> Latency | None:
    """The figures of latencies in seconds, in any order; `None` without any."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    figures = {f"p{share}": percentile(ordered, share) for share in (50, 90, 95, 99)}
    figures |= {"minimum": ordered[0], "mean": math.fsum(ordered) / len(ordered),
              "maximum": ordered[-1]}  # fmt: skip
    return Latency(**{name: round(value * 1e3, 3) for name, value in figures.items()})
