"""From histograms to the ranges that are kept."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from enginecrate.graph.quantize.ranges import Range

__all__ = ["entropy_range", "percentile_range"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LEVELS = 128
"""Positive values of int8."""


def percentile_range(counts: Integers, seen: Range, percentile: float) -> Range:
    """The range that covers this share of the values; as much is cut off at either end.

    onnxruntime's `PercentileCalibrater` does the same for asymmetric scales.

    Args:
        counts: (bins,) from `seen.low` to `seen.high`.
        seen: the smallest and the largest value.
        percentile: in %, of 90..100.
    """
    total = int(counts.sum())
    cut = int(total * (100.0 - percentile) / 200.0)
    if cut == 0:
        return seen
    width = (seen.high - seen.low) / len(counts)
    below = int(np.searchsorted(np.cumsum(counts), cut, side="right"))
    above = int(np.searchsorted(np.cumsum(counts[::-1]), cut, side="right"))
    low, high = seen.low + below * width, seen.high - above * width
    return Range(low, high) if low < high else seen


def entropy_range(counts: Integers, seen: Range) -> Range:
    """The range whose 8-bit version keeps most of the distribution's information.

    S. Migacz, "8-bit Inference with TensorRT", GTC 2017, session S7310, slides "Pseudocode":
    the threshold with the least Kullback-Leibler divergence between the distribution, its
    outliers moved into the last bin, and the same in 128 levels without them. Two things differ.
    As in NVIDIA's pytorch-quantization the first bin counts as much as the second: the many
    zeros behind a ReLU say nothing about a threshold. And outliers join the last bin that has
    any values, since the divergence from an empty one is infinite, however few they are.

    Args:
        counts: (bins,) of magnitudes, from 0 to the largest one.
        seen: the smallest and the largest value.
    """
    largest = max(abs(seen.low), abs(seen.high))
    counts = counts.copy()
    counts[0] = counts[1]
    divergences = _divergences(counts)
    best = int(np.argmin(divergences))
    if not np.isfinite(divergences[best]):  # a constant
        return seen
    bins = best + _LEVELS
    threshold = (bins + 0.5) * largest / len(counts) if bins < len(counts) else largest
    return Range(max(seen.low, -threshold), min(seen.high, threshold))


def _divergences(counts: Integers) -> Floats:
    """For each number of bins that is kept, from 128 to all, the divergence.

    With P the kept bins, all outliers added to the last filled one, and Q the same bins in 128
    levels, in each of which the filled bins get equal shares of its sum S: the sum of
    P log(P / Q) is split by levels, so that prefix sums give it for all numbers of bins at once.
    """
    kept = np.arange(_LEVELS, len(counts) + 1)
    starts = _level_starts(len(counts))
    inside = _prefix_sums(counts)
    sums = np.diff(inside[starts], axis=1)
    filled = np.diff(_prefix_sums(counts > 0)[starts], axis=1)
    outliers = inside[-1] - inside[kept]
    last = np.maximum.accumulate(np.where(counts > 0, np.arange(len(counts)), 0))[kept - 1]
    in_last = counts[last].astype(np.float64)
    of_bins = _prefix_sums(_times_log(counts))[kept] - _times_log(in_last)
    of_bins += _times_log(in_last + outliers)
    logs = np.log(np.where(sums > 0, sums, 1.0) / np.where(filled > 0, filled, 1.0))
    of_last = logs[np.arange(len(kept)), last * _LEVELS // kept]
    of_levels = (sums * logs).sum(axis=1) + outliers * of_last
    total = max(inside[-1], 1.0)
    divergences = (of_bins - of_levels) / total + np.log(np.maximum(inside[kept], 1.0) / total)
    return np.where(inside[kept] == 0, np.inf, divergences)


@cache
def _level_starts(bins: int) -> npt.NDArray[np.intp]:
    """For each number of kept bins, where each of the 128 levels begins, and the end."""
    kept = np.arange(_LEVELS, bins + 1)[:, None]
    return (np.arange(_LEVELS + 1) * kept + _LEVELS - 1) // _LEVELS


def _prefix_sums(values: npt.NDArray[Any]) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _times_log(values: npt.NDArray[Any]) -> Floats:
    """`x log x`, and 0 for 0."""
    products: Floats = values * np.log(np.where(values > 0, values, 1))
    return products
