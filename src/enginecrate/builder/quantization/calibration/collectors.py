"""Collectors keep little of the values that flow by: the same in whatever order they come.

Smallest and largest values, and whole numbers that count, do not depend on the order in which
photos are added, unlike sums of floats: any number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from enginecrate.graph.quantize.ranges import Range
from enginecrate.values import Array

__all__ = ["Collector", "Counts", "Extremes"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Collector(Protocol):
    """The findings of one pass over the photos.

    what: names the pass, its method and its tensors, for the state of an interrupted run.
    title: for people who watch the progress.
    names: of the activations that it looks at.
    """

    title: str
    names: Sequence[str]

    @property
    def what(self) -> str: ...
    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All that was collected; may be written to."""
        ...

    def look(self, arrays: Sequence[Array]) -> Any:
        """Reduce the activations of one photo. Called from many threads."""
        ...

    def add(self, seen: Any) -> None:
        """Add what `look` gave for one photo."""
        ...


class Extremes:
    """The smallest and the largest value of each tensor. NaN stays NaN."""

    title = "calibrate: ranges"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._low = np.full(len(names), np.inf, np.float32)
        self._high = np.full(len(names), -np.inf, np.float32)

    @property
    def what(self) -> str:
        return " ".join(("extremes", *map(repr, self.names)))

    @property
    def arrays(self) -> tuple[Floats, ...]:
        return self._low, self._high

    def look(self, arrays: Sequence[Array]) -> tuple[Floats, Floats]:
        low = [array.min(initial=np.inf) for array in arrays]
        high = [array.max(initial=-np.inf) for array in arrays]
        return np.array(low, np.float32), np.array(high, np.float32)

    def add(self, seen: tuple[Floats, Floats]) -> None:
        np.minimum(self._low, seen[0], out=self._low)
        np.maximum(self._high, seen[1], out=self._high)

    def ranges(self) -> dict[str, Range]:
        """The range of each tensor; of those that never had an element, 0."""
        ends = zip(self.names, self._low.tolist(), self._high.tolist(), strict=True)
        return {
            name: Range(0.0, 0.0) if low > high else Range(low, high) for name, low, high in ends
        }


class Counts:
    """A histogram of each tensor, in bins of equal width.

    magnitude: values are counted by their distance from 0, up to the largest one; else from the
        smallest to the largest value.
    """

    title = "calibrate: distributions"

    def __init__(self, seen: Mapping[str, Range], bins: int, *, magnitude: bool) -> None:
        self.names: Sequence[str] = tuple(seen)
        self._magnitude = magnitude
        self._edges = [_edges(one, magnitude=magnitude) for one in seen.values()]
        self._counts: Integers = np.zeros((len(seen), bins), np.int64)

    @property
    def what(self) -> str:
        return " ".join(("counts", str(self._magnitude), *map(repr, self.names)))

    @property
    def arrays(self) -> tuple[Integers, ...]:
        return (self._counts,)

    def look(self, arrays: Sequence[Array]) -> Integers:
        counts = np.zeros_like(self._counts)
        bins = counts.shape[1]
        for row, array, (low, high) in zip(counts, arrays, self._edges, strict=True):
            steps = bins / (high - low) if high > low else np.inf
            if not np.isfinite(np.float32(steps)):  # the tensor is constant
                row[0] = array.size
                continue
            values = array.reshape(-1)
            values = np.abs(values) if self._magnitude else values - np.float32(low)
            values *= np.float32(steps)
            np.clip(values, 0, bins - 1, out=values)
            row += np.bincount(values.astype(np.int32), minlength=bins)
        return counts

    def add(self, seen: Integers) -> None:
        self._counts += seen

    def histograms(self) -> dict[str, Integers]:
        """The counts of each tensor, (bins,)."""
        return dict(zip(self.names, self._counts, strict=True))


def _edges(seen: Range, *, magnitude: bool) -> tuple[float, float]:
    return (0.0, max(abs(seen.low), abs(seen.high))) if magnitude else (seen.low, seen.high)
