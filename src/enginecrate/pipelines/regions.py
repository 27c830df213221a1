"""Connected regions of a map: for models that answer where something is, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from enginecrate.values import Array

__all__ = ["Region", "find_regions"]

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Region:
    """Pixels of a mask that hang together.

    box: x1, y1, x2, y2 of the smallest box around them, in pixels of the map.
    pixels: how many they are.
    score: the mean of their scores; 1 without scores.
    """

    box: tuple[int, int, int, int]
    pixels: int
    score: float


def find_regions(
    mask: Array,
    scores: Array | None = None,
    *,
    min_pixels: int = 1,
    connectivity: Literal[4, 8] = 8,
) -> list[Region]:
    """Find the connected regions of a mask (connected components).

    Time grows with the number of runs of pixels in a line, whatever shapes the regions have.

    Args:
        mask: (H, W), true where something is: `map > 0.3`, for example.
        scores: (H, W); the map itself.
        min_pixels: smaller regions are left out.
        connectivity: 8: pixels that touch at a corner hang together; 4: they need a side.

    Returns:
        In the order of their first pixels, line by line.

    Raises:
        ValueError: the mask has not two dimensions, or the scores have another shape.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2 or (scores is not None and np.shape(scores) != mask.shape):
        raise ValueError(
            f"a mask (H, W) and scores of the same shape are needed, found {mask.shape}"
            + ("" if scores is None else f" and {np.shape(scores)}")
        )
    rows, starts, ends = _runs(mask)
    if not len(rows):
        return []
    reach = 1 if connectivity == 8 else 0
    region, number = np.unique(
        _joined(len(rows), *_touching(rows, starts, ends, mask.shape[1] + 2, reach)),
        return_inverse=True,
    )
    count = len(region)
    lengths = ends - starts
    pixels = np.bincount(number, lengths, count).astype(np.intp)
    sums = pixels.astype(np.float64) if scores is None else np.bincount(
        number, _run_sums(scores, rows, starts, ends), count
    )  # fmt: skip
    low = np.full((count, 2), np.iinfo(np.intp).max, np.intp)
    high = np.zeros((count, 2), np.intp)
    np.minimum.at(low, number, np.stack((starts, rows), axis=1))
    np.maximum.at(high, number, np.stack((ends, rows + 1), axis=1))
    return [
        Region((*low[index].tolist(), *high[index].tolist()), int(pixels[index]),
               float(sums[index] / pixels[index]))
        for index in np.flatnonzero(pixels >= min_pixels)
    ]  # fmt: skip


def _runs(mask: npt.NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
    """Row, start and end of every run of true pixels, line by line."""
    height, width = mask.shape
    edges = np.zeros((height, width + 1), np.int8)
    edges[:, :width] = mask
    edges[:, 1:] -= mask
    flat = np.flatnonzero(edges)  # starts and ends take turns, also from one line to the next
    rows, columns = np.divmod(flat, width + 1)
    return rows[::2], columns[::2], columns[1::2]


def _touching(
    rows: Indices, starts: Indices, ends: Indices, stride: int, reach: int
) -> tuple[Indices, Indices]:
    """Pairs of runs that touch: one in each of two neighbouring lines."""
    above = (rows - 1) * stride
    first = np.searchsorted(rows * stride + ends, above + starts - reach, side="right")
    last = np.searchsorted(rows * stride + starts, above + ends + reach, side="left")
    counts = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(rows)), counts)
    offsets = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts)
    return lower, np.repeat(first, counts) + offsets


def _joined(count: int, left: Indices, right: Indices) -> Indices:
    """For each of `count` things the least one that it hangs together with, through pairs."""
    root = np.arange(count)
    while True:
        a, b = root[left], root[right]
        apart = a != b
        if not apart.any():
            return root
        np.minimum.at(root, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while (shorter := root[root]).tobytes() != root.tobytes():
            root = shorter


def _run_sums(scores: Array, rows: Indices, starts: Indices, ends: Indices) -> Array:
    """The sum of the scores in each run."""
    table = np.asarray(scores)
    line = rows * table.shape[1]
    edges = np.stack((line + starts, line + ends), axis=1).ravel()
    # Sums from each edge to the next one: every second is a run's. The last edge is the table's.
    flat = table.reshape(-1)[: edges[-1]]
    found: Array = np.add.reduceat(flat, edges[:-1], dtype=np.float64)[::2]
    return found
