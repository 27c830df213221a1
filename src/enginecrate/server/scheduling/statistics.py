"""Statistics of a model since the server started: counts, durations, histograms, latencies.

This is the one place that counts; `/metrics`, `/v2/.../stats` and `/v1/status` read it.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from enginecrate.server.scheduling.batch import Execution

__all__ = [
    "BUCKETS_US",
    "DURATIONS",
    "WINDOW_SECONDS",
    "Duration",
    "FailureReason",
    "Latency",
    "ModelStatistics",
    "percentile",
]

FailureReason = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]
"""Triton's reasons: a full queue; the client gone or its time over; the engine; anything else."""

_FAILURE_REASONS: tuple[FailureReason, ...] = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

DURATIONS = ("request", "queue", "compute_input", "compute_infer", "compute_output")

BUCKETS_US = (
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
"""Upper bounds, in microseconds, from a small GPU model to a large one on a slow CPU."""

WINDOW_SECONDS = 60.0
_WINDOW_SAMPLES = 4096


class Duration:
    """A count, a sum and a histogram of one kind of duration."""

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0
        self.buckets = [0] * (len(BUCKETS_US) + 1)

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns
        self.buckets[bisect_left(BUCKETS_US, ns / 1000)] += 1


@dataclass(frozen=True, slots=True)
class Latency:
    """One answered request, in milliseconds."""

    at: float
    total: float
    queue: float
    compute: float


class ModelStatistics:
    """Counts and durations of one model. Thread-safe."""

    def __init__(self) -> None:
        self.success = Duration()
        self.fail = Duration()
        self.durations = {name: Duration() for name in DURATIONS}
        self.failures: dict[FailureReason, int] = dict.fromkeys(_FAILURE_REASONS, 0)
        self.inferences = 0
        self.executions = 0
        self.last_inference_ms = 0
        self.batches: dict[int, Duration] = {}
        self._recent: deque[Latency] = deque(maxlen=_WINDOW_SAMPLES)
        self._lock = threading.Lock()

    def succeeded(self, samples: int, request_ns: int, execution: Execution) -> None:
        """A request came back from the engine."""
        parts = (
            request_ns,
            execution.queue_ns,
            execution.input_ns,
            execution.compute_ns,
            execution.output_ns,
        )
        with self._lock:
            self.inferences += samples
            self.last_inference_ms = int(time.time() * 1000)
            self.success.add(request_ns)
            for name, ns in zip(DURATIONS, parts, strict=True):
                self.durations[name].add(ns)

    def failed(self, reason: FailureReason, request_ns: int = 0) -> None:
        """A request was not answered as it should."""
        with self._lock:
            self.failures[reason] += 1
            self.fail.add(request_ns)

    def executed(self, samples: int, ns: int) -> None:
        """An engine ran once."""
        with self._lock:
            self.executions += 1
            self.batches.setdefault(samples, Duration()).add(ns)

    def answered(self, total: float, queue: float, compute: float) -> None:
        """An HTTP request was answered; all in milliseconds."""
        self._recent.append(Latency(time.monotonic(), total, queue, compute))

    def recent(self) -> list[Latency]:
        """The latencies of requests that were answered within the window."""
        oldest = time.monotonic() - WINDOW_SECONDS
        return [latency for latency in list(self._recent) if latency.at >= oldest]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile of values; `None` when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[int(rank)]
