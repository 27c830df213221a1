"""From histograms to the ranges that are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enginecrate.graph.ranges import Range

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
    outliers moved into the last bin, and the same in 128 levels without them. As in NVIDIA's
    pytorch-quantization the first bin counts as much as the second: the many zeros behind a ReLU
    say nothing about a threshold.

    Args:
        counts: (bins,) of magnitudes, from 0 to the largest one.
        seen: the smallest and the largest value.
    """
    largest = max(abs(seen.low), abs(seen.high))
    counts = counts.copy()
    counts[0] = counts[1]
    best, least = len(counts), np.inf
    for stop in range(_LEVELS, len(counts) + 1):
        divergence = _divergence(counts, stop)
        if divergence < least:
            best, least = stop, divergence
    threshold = (best + 0.5) * largest / len(counts) if best < len(counts) else largest
    return Range(max(seen.low, -threshold), min(seen.high, threshold))


def _divergence(counts: Integers, stop: int) -> float:
    """Between the first bins with all outliers in the last of them, and the same in 128 levels."""
    inside = counts[:stop]
    reference = inside.astype(np.float64)
    reference[-1] += counts[stop:].sum()
    total = inside.sum()
    if total == 0:
        return float("inf")
    # Level k takes the bins from k * stop / 128 on, and gives each filled one the same share.
    starts = (np.arange(_LEVELS) * stop + _LEVELS - 1) // _LEVELS
    filled = inside > 0
    sums = np.add.reduceat(inside, starts)
    filled_counts = np.maximum(np.add.reduceat(filled.astype(np.int64), starts), 1)
    sizes = np.diff(np.append(starts, stop))
    spread = np.repeat(sums / filled_counts, sizes) * filled
    if reference[-1] > 0 and not filled[-1]:  # outliers where the 8-bit version has nothing
        return float("inf")
    p = reference[filled] / reference.sum()
    q = spread[filled] / total
    return float(np.sum(p * np.log(p / q)))
