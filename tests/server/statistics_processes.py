"""Processes that write a page of statistics until they are killed, and one that reads them all."""

import os
import random
import sys
from collections.abc import Mapping

from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.server.statistics.page import open_pages
from enginecrate.server.statistics.view import Duration, Totals

ROUND = 50


def write(fd: int, number: int) -> None:
    """Count, and tell after every `ROUND` requests."""
    statistics = ModelStatistics(open_pages(fd), number)
    http = HttpStatistics(statistics.page)
    statistics.page.measure("pending", lambda: 7)
    statistics.page.publish()
    while True:
        for _ in range(ROUND):
            ns = random.randrange(1, 10_000_000)
            statistics.succeeded(2, ns, Execution({}, 2, ns // 2, 0, ns // 3, 5))
            statistics.executed(random.randrange(1, 9), ns // 3)
            statistics.failed(random.choice(["REJECTED", "BACKEND"]), ns)
            statistics.answered(ns / 1e6, 0.1, 0.5)
            http.answered(200)
            http.refused("time")
        os.write(1, b".")


def read(fd: int) -> None:
    """Read until the input ends; says how often, or which sum fell."""
    view = ModelStatistics(open_pages(fd), 0).view
    before: dict[str, int] = {}
    readings = 0
    os.set_blocking(0, False)
    while True:
        now = counters(view.totals())
        fallen = {name: (value, now.get(name)) for name, value in before.items()
                  if now.get(name, 0) < value}  # fmt: skip
        if fallen:
            sys.exit(f"sums fell: {fallen}")
        before = now
        readings += 1
        if readings == 1:
            os.write(1, b"begun\n")
        try:
            if not os.read(0, 1):
                break
        except BlockingIOError:
            pass
    os.write(1, b"%d\n" % readings)


def counters(totals: Totals) -> dict[str, int]:
    """Every number that only grows, by name."""
    found: dict[str, int] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}", inner)
        elif isinstance(value, Duration):
            found[f"{name}.count"], found[f"{name}.ns"] = value.count, value.ns
            found.update({f"{name}.{at}": count for at, count in enumerate(value.buckets)})
        elif isinstance(value, int):
            found[name] = value

    for name in ("inferences", "executions", "last_inference_ms", "durations", "fail", "failures",
                 "batches", "responses", "refusals", "connections"):  # fmt: skip
        add(name, getattr(totals, name))
    for kind, count in totals.processes.items():
        add(f"restarts.{kind}", count.restarts)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(int(sys.argv[2]), int(sys.argv[3]))
    else:
        read(int(sys.argv[2]))
