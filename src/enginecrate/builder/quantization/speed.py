"""The speed of a graph against another one, on a machine that does other things, too."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import numpy as np

from enginecrate.engines.base import Engine
from enginecrate.values import Tensors

__all__ = ["Speed", "compare_speed"]

_PAIRS = 30
_WARM_UP = 3


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Medians in milliseconds for one sample; `ratio`: of the pairs' median quotients."""

    baseline_ms: float
    candidate_ms: float
    ratio: float
    runs: int


def compare_speed(
    baseline: Engine, candidate: Engine, inputs: Sequence[Tensors], pairs: int = _PAIRS
) -> Speed:
    """Run both in turn on the same inputs, so that whatever slows the machine slows both.

    The ratio is the median of the quotients of neighbouring runs: a burst of foreign work spoils
    single pairs, not the result.
    """
    for engine in (baseline, candidate):
        for number in range(_WARM_UP):
            engine.run(inputs[number % len(inputs)])
    times = np.zeros((pairs, 2))
    for number in range(pairs):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            engine = (baseline, candidate)[which]
            start = time.perf_counter()
            engine.run(inputs[number % len(inputs)])
            times[number, which] = time.perf_counter() - start
    medians = np.median(times, axis=0) * 1e3
    return Speed(
        baseline_ms=round(float(medians[0]), 3),
        candidate_ms=round(float(medians[1]), 3),
        ratio=round(float(np.median(times[:, 0] / times[:, 1])), 3),
        runs=pairs,
    )
