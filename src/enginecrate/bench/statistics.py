"""The figures of latencies: percentiles, mean, extremes."""

from __future__ import annotations

import msgspec

from enginecrate.bench.histogram import Histogram

__all__ = ["Latency", "summarize"]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, from the start of a request to the last byte of its answer.

    The start is the first byte that is sent, and in an open loop the intended start.
    Percentiles are nearest-rank, at most 0.1 % too high; mean, least and most are exact.
    """

    minimum: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    maximum: float


def summarize(latencies: Histogram) -> Latency | None:
    """The figures of a histogram; `None` when nothing was counted."""
    if not latencies.count:
        return None
    shares = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
    figures = {name: float(latencies.percentile(share)) for name, share in shares.items()}
    figures |= {
        "minimum": latencies.least_ns,
        "mean": latencies.total_ns / latencies.count,
        "maximum": latencies.most_ns,
    }
    return Latency(**{name: round(ns / 1e6, 3) for name, ns in figures.items()})
