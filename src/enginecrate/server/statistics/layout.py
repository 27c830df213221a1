"""The layout of a page: which of its 64-bit words holds what.

A page has a header, counters, gauges and slices of the last minute. `VERSION` changes with it:
processes of one server are of one version, and a page of another one is refused.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = [
    "BATCHES",
    "BATCH_ROWS",
    "BATCH_WORDS",
    "BOUNDS_NS",
    "BUCKETS_US",
    "BUILDS",
    "BUILD_US",
    "CONNECTIONS",
    "COUNTERS_END",
    "DURATIONS",
    "DURATION_WORDS",
    "EXECUTIONS",
    "FAILED_NS",
    "FAILURES",
    "FAILURE_REASONS",
    "GAUGES",
    "GAUGE_NAMES",
    "INFERENCES",
    "KIND",
    "KINDS",
    "LAST_INFERENCE_MS",
    "MAGIC",
    "PAGE_BYTES",
    "PARTS",
    "PROCESS",
    "REFUSALS",
    "REFUSAL_REASONS",
    "RESPONSES",
    "RUNG_FAILURES",
    "RUNG_FAILURE_REASONS",
    "SLICES",
    "SLICE_BUCKETS",
    "SLICE_COUNT",
    "SLICE_PARTS",
    "SLICE_WORDS",
    "STARTED_MS",
    "STARTED_NS",
    "STARTS",
    "SWAPS",
    "VERSION",
    "FailureReason",
    "GaugeName",
    "ProcessKind",
    "RefusalReason",
]

VERSION = 1
MAGIC = int.from_bytes(b"EC-page" + bytes([VERSION]), "big")

ProcessKind = Literal["server", "supervisor", "engine", "front_end"]
"""`server`: the one process that is all of them."""
KINDS: tuple[ProcessKind, ...] = get_args(ProcessKind)

FailureReason = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]
"""Triton's reasons: a full queue; the client gone or its time over; the engine; anything else."""
FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)

RefusalReason = Literal["time", "count", "share", "memory", "other"]
"""Why a request was refused that was sound: what waits takes too long; too many wait; the client
has its share of the queue; memory is used up."""
REFUSAL_REASONS: tuple[RefusalReason, ...] = get_args(RefusalReason)

RUNG_FAILURE_REASONS = (
    "memory", "build", "accuracy", "load", "cache", "proof", "trial", "other",
)  # fmt: skip
"""Why a rung of the ladder cannot serve."""

GaugeName = Literal[
    "pending",
    "decoding",
    "queue_seconds",
    "connections",
    "leases_filling",
    "leases_submitted",
    "leases_answered",
    "arena_bytes",
]
"""Requests that wait for an engine, and for a decoder; seconds that one would wait that came now;
open connections; leases by state; bytes of arenas."""
GAUGE_NAMES: tuple[GaugeName, ...] = get_args(GaugeName)

PARTS = ("request", "queue", "compute_input", "compute_infer", "compute_output")
"""The durations of a request."""

BUCKETS_US = (
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
"""Upper bounds, in microseconds, from a small GPU model to a large one on a slow CPU."""

BOUNDS_NS = tuple(bound * 1000 for bound in BUCKETS_US)

SLICE_COUNT = 13
SLICE_PARTS = ("total", "queue", "compute")
SLICE_BUCKETS = 432
BATCH_ROWS = 256
_GAUGE_WORDS = 32


class _Words:
    """Hands out words, one after the other."""

    def __init__(self) -> None:
        self.end = 0

    def take(self, count: int = 1) -> int:
        start = self.end
        self.end += count
        return start


_words = _Words()

_MAGIC_WORD = _words.take()
KIND = _words.take()
"""Position in `KINDS`, plus one; 0: no process has had this page yet."""
PROCESS = _words.take()
"""Id of the process that writes; 0: none does."""
STARTS = _words.take()
"""Processes that have had this page."""
STARTED_MS = _words.take()
"""When the first of them began, in milliseconds since 1970."""
STARTED_NS = _words.take()
"""The same on the clock of `time.monotonic`, which all processes of a machine share."""
_words.take(2)

INFERENCES = _words.take()
LAST_INFERENCE_MS = _words.take()
EXECUTIONS = _words.take()
FAILED_NS = _words.take()
FAILURES = _words.take(len(FAILURE_REASONS))
DURATION_WORDS = 1 + len(BUCKETS_US) + 1
"""Nanoseconds in sum, then the buckets; their sum is the count."""
DURATIONS = _words.take(len(PARTS) * DURATION_WORDS)
RESPONSES = _words.take(6)
"""By status class: 1xx to 5xx at 1 to 5."""
CONNECTIONS = _words.take()
REFUSALS = _words.take(16)
BUILDS = _words.take()
BUILD_US = _words.take()
SWAPS = _words.take()
RUNG_FAILURES = _words.take(16)
BATCH_WORDS = 3
BATCHES = _words.take(BATCH_ROWS * BATCH_WORDS)
"""Rows of size, count and nanoseconds; a row of size 0 is free."""
COUNTERS_END = _words.end

GAUGES = _words.take(_GAUGE_WORDS)
"""Floating-point numbers."""

SLICE_WORDS = 1 + len(SLICE_PARTS) * SLICE_BUCKETS // 2
SLICES = _words.take(SLICE_COUNT * SLICE_WORDS)
"""Each: its number, then a histogram of 32-bit counts for each part."""

PAGE_BYTES = -(-_words.end * 8 // 4096) * 4096
