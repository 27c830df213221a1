"""The counts of a load process between two ticks: latencies, errors, different answers."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from enginecrate.bench.histogram import Histogram
from enginecrate.bench.messages import Tick
from enginecrate.bench.wire import Span

__all__ = ["Answers", "Counts"]

_KEPT_ANSWERS = 100
_KEPT_BYTES = 64 * 2**20
"""Different answers to one payload, and bytes of all of them, that a process keeps."""


class Answers:
    """The different answers to each payload, and how often each came.

    Nearly every answer is the same as the one before it: that is one comparison in place, and
    nothing is copied.
    """

    def __init__(self, payloads: int, stable: Span | None) -> None:
        self._stable = stable
        self._latest = [b""] * payloads
        self._repeats = [0] * payloads
        self._counts: Counter[tuple[int, bytes]] = Counter()
        self._known: list[set[bytes]] = [set() for _ in range(payloads)]
        self._kept = 0
        self.varied = 0

    def add(self, payload: int, buffer: bytearray, begin: int, end: int) -> None:
        """Count the answer that lies in a buffer."""
        stable = self._stable
        if stable is not None:
            first = buffer.find(stable.begin, begin, end)
            last = buffer.rfind(stable.end, begin, end)
            if 0 <= first < last:
                begin, end = first + len(stable.begin), last
        latest = self._latest[payload]
        if end - begin == len(latest) and buffer.startswith(latest, begin):
            self._repeats[payload] += 1
        else:
            self._change(payload, bytes(buffer[begin:end]))

    def take(self) -> tuple[list[tuple[int, bytes, int]], int]:
        """Payload, part and count of what came since the last call; and how many were not kept."""
        for payload in range(len(self._latest)):
            self._settle(payload)
        taken = [(payload, part, count) for (payload, part), count in self._counts.items()]
        varied, self.varied = self.varied, 0
        self._counts.clear()
        return taken, varied

    def _change(self, payload: int, part: bytes) -> None:
        self._settle(payload)
        known = self._known[payload]
        if part not in known:
            if len(known) >= _KEPT_ANSWERS or self._kept + len(part) > _KEPT_BYTES:
                self.varied += 1
                return
            known.add(part)
            self._kept += len(part)
        self._latest[payload] = part
        self._repeats[payload] = 1

    def _settle(self, payload: int) -> None:
        if repeats := self._repeats[payload]:
            self._counts[payload, self._latest[payload]] += repeats
            self._repeats[payload] = 0


class Counts:
    """Everything that a process counts. Times are nanoseconds of the monotonic clock."""

    def __init__(self, payloads: int, stable: Span | None) -> None:
        self.latencies: list[int] = []
        self.lag: list[int] = []
        self.errors: Counter[str] = Counter()
        self.answers = Answers(payloads, stable)
        self.last = 0
        self._begin = 0
        self._cpu_ns = self._wait_ns = 0

    def begin(self, now: int) -> None:
        """Start the first tick."""
        self._begin = now
        self._cpu_ns, self._wait_ns = time.process_time_ns(), _wait_ns()

    def tick(self, now: int, connections: int, *, done: bool) -> Tick:
        """The counts since the last tick."""
        latencies, lag = Histogram(), Histogram()
        latencies.add(self.latencies)
        lag.add(self.lag)
        cpu_ns, wait_ns = time.process_time_ns(), _wait_ns()
        answers, varied = self.answers.take()
        tick = Tick(
            begin=self._begin,
            end=now,
            latencies=latencies.part(),
            lag=lag.part(),
            errors=dict(self.errors),
            answers=answers,
            varied=varied,
            cpu_ns=cpu_ns - self._cpu_ns,
            wait_ns=wait_ns - self._wait_ns,
            connections=connections,
            last=self.last,
            done=done,
        )
        self.latencies.clear()
        self.lag.clear()
        self.errors.clear()
        self._begin, self._cpu_ns, self._wait_ns = now, cpu_ns, wait_ns
        return tick


def _wait_ns() -> int:
    """Time that this thread has spent in the queue for a core (proc(5), schedstat)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):  # a kernel without it
        return 0
