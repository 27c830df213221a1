"""Ranges that lose least: a little clipping of rare values for finer steps everywhere else.

The range that gives the smallest mean squared error on sampled values is searched inside the one
that calibration chose (Nagel et al., "A White Paper on Neural Network Quantization", 2021,
section 3.1, "MSE").
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.typed import Scheme

__all__ = ["tighten"]

Floats = npt.NDArray[np.float32]

_SHARES = tuple(round(1 - 0.05 * step, 2) for step in range(15))
"""Shares of each end of the range that are tried; never less than 0.3 of it."""


def tighten(
    ranges: Mapping[str, Range], values: Mapping[str, Floats], scheme: Scheme
) -> dict[str, Range]:
    """Search a better range for every tensor that has sampled values; others keep theirs.

    Args:
        ranges: that calibration chose.
        values: a sample of each tensor's values.
        scheme: FP8 is a floating-point type, which gains nothing: its ranges stay.
    """
    if scheme is Scheme.FP8:
        return dict(ranges)
    symmetric = scheme is Scheme.TENSORRT
    return {
        name: _search(chosen, values[name], symmetric=symmetric) if name in values else chosen
        for name, chosen in ranges.items()
    }


def _search(chosen: Range, values: Floats, *, symmetric: bool) -> Range:
    if not chosen.low < chosen.high or not len(values):
        return chosen
    error = _symmetric_error if symmetric else _asymmetric_error
    best = min(_SHARES, key=lambda share: error(values, share * chosen.low, share * chosen.high))
    if symmetric:
        return Range(best * chosen.low, best * chosen.high)
    low, high = best * chosen.low, best * chosen.high
    if chosen.low < 0:
        low = min(
            (share * chosen.low for share in _SHARES), key=lambda end: error(values, end, high)
        )
    if chosen.high > 0:
        high = min(
            (share * chosen.high for share in _SHARES), key=lambda end: error(values, low, end)
        )
    return Range(low, high)


def _asymmetric_error(values: Floats, low: float, high: float) -> float:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if not scale > 0:
        return float("inf")
    zero = np.rint(-low / scale)
    steps = np.clip(np.rint(values / scale) + zero, 0, 255) - zero
    return float(np.mean((steps * scale - values) ** 2, dtype=np.float64))


def _symmetric_error(values: Floats, low: float, high: float) -> float:
    scale = max(abs(low), abs(high)) / 127
    if not scale > 0:
        return float("inf")
    steps = np.clip(np.rint(values / scale), -128, 127)
    return float(np.mean((steps * scale - values) ** 2, dtype=np.float64))
