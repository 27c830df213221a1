"""What one request adds to statistics and to the log, in microseconds of processor time.

Run: python benchmarks/bookkeeping.py [--calls 20000]

Aim, set before the work: all counters of a request together take less than 3 us; 14,000 requests a
second leave 70 us for each.

Outcome (AMD EPYC, 2 cores, other work beside it; the quickest of 7 rounds):
  1. 2.7 us: 1.4 for the request, 0.5 for the run, 0.7 for the latency, 0.1 for the answer. About 20
     words are read and written through a memoryview, in 53 ns each. The counters before, objects
     of this process alone, took 3.9.
  2. A log line takes 3.4 to 3.9 us where 8 and more are written together, 7.2 where each round of
     the loop has one; as a record of the standard library's logging it took 11.9 to 12.6.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
import timeit
from collections.abc import Callable

from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.request_log import log_request
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.settings import load_settings
from machine import describe

_ROUNDS = 7
_FIELDS = {"model": "detector", "version": "1.0.0", "batch": 1, "queue_us": 12, "compute_us": 300}


def main() -> None:
    parser = argparse.ArgumentParser(description="What one request adds to statistics and log.")
    parser.add_argument("--calls", type=int, default=20_000)
    calls = parser.parse_args().calls
    print(describe())
    print("\n| counter | us |\n|---|---|")
    for name, call in _counters().items():
        print(f"| {name} | {_microseconds(call, calls):.2f} |")
    print("\n| log | us a line |\n|---|---|")
    with open(os.devnull, "w") as sink:  # noqa: PTH123 -- a stream, as the server has one
        configure_logs(load_settings(environment={}, flags={"log_format": "json"}), sink)
        for lines in (1, 8, 32):
            print(f"| {lines} a round of the loop | {asyncio.run(_logged(lines, calls)):.2f} |")
        handler = logging.StreamHandler(sink)
        handler.setFormatter(logging.getLogger().handlers[0].formatter)
        logging.getLogger().handlers[:] = [handler]
        print(f"| as a record of `logging` | {asyncio.run(_logged(8, calls)):.2f} |")


def _counters() -> dict[str, Callable[[], object]]:
    statistics = ModelStatistics()
    http = HttpStatistics(statistics.page)
    steps = Execution({}, 1, 80_000, 1000, 300_000, 2000)
    return {
        "a request came back": lambda: statistics.succeeded(1, 400_000, steps),
        "an engine ran": lambda: statistics.executed(1, 300_000),
        "its latency": lambda: statistics.answered(1.5, 0.08, 0.303),
        "an answer by status": lambda: http.answered(200),
        "the sums of `/metrics`, once": statistics.view.totals,
    }


def _microseconds(call: Callable[[], object], calls: int) -> float:
    return min(timeit.repeat(call, number=calls, repeat=_ROUNDS)) / calls * 1e6


async def _logged(lines: int, calls: int) -> float:
    """Microseconds a line, when so many are logged in each round of the loop."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(calls // 10 // lines):
            for _ in range(lines):
                log_request("POST", "/v1/predict", 200, 0.0012, "0" * 32, None, _FIELDS)
            await asyncio.sleep(0)
        best = min(best, (time.perf_counter() - start) / (calls // 10 // lines * lines))
    return best * 1e6


if __name__ == "__main__":
    main()
