"""Arrivals of an open loop: when requests are meant to start, whatever the server does."""

from __future__ import annotations

import random
from collections.abc import Iterator

from enginecrate.bench.messages import Arrivals

__all__ = ["arrival_times", "split_arrivals"]

_SECOND = 1_000_000_000


def split_arrivals(rate: float, processes: int, *, poisson: bool, seed: int) -> list[Arrivals]:
    """The share of each process, so that together they make one stream of this rate.

    Constant distances are dealt out in turn. Independent Poisson streams add up to one.
    """
    return [
        Arrivals(rate / processes, number / rate, poisson, seed + number)
        for number in range(processes)
    ]


def arrival_times(arrivals: Arrivals, begin: int) -> Iterator[int]:
    """The intended starts, without end, in nanoseconds from `begin` on."""
    if not arrivals.poisson:
        number = 0
        first = begin + round(arrivals.offset * _SECOND)
        while True:  # multiplied, not added up: no error grows
            yield first + round(number * _SECOND / arrivals.rate)
            number += 1
    distances = random.Random(arrivals.seed)  # noqa: S311 (no secret: the same load again)
    at = float(begin)
    while True:
        at += distances.expovariate(arrivals.rate) * _SECOND
        yield round(at)
