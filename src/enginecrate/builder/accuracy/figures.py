"""Figures with the number of things that they were measured on, and a 95 % interval.

`agreement_figure` and `other_figures` make those of a task out of the comparisons of single photos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from enginecrate.builder.accuracy.comparison import Comparison

__all__ = [
    "Figure",
    "Z",
    "agreement_figure",
    "mean_figure",
    "other_figures",
    "ratio_figure",
    "share_figure",
]

Z = 1.959963984540054
"""The normal distribution's 97.5th percentile."""

_ROUNDS = 2000
_SEED = 20240613
_DIGITS = 4
_COUNTED = 20


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number.

    value: `None` when there was nothing to measure.
    n: how many things of `unit` it rests on.
    low, high: the 95 % interval; `None` when there is none.
    method: how the interval was found: `wilson` (single photos), or `bootstrap` over photos,
        which is for things that come several to a photo.
    """

    name: str
    value: float | None
    n: int
    unit: str
    low: float | None = None
    high: float | None = None
    method: Literal["wilson", "bootstrap", ""] = ""

    @property
    def short(self) -> str:
        """For tables: few things are counted, since they make no percentage."""
        if self.value is None:
            return "nothing to measure"
        if self.n < _COUNTED:
            return f"{self.value * self.n:.0f} of {self.n} {self.unit}"
        return f"{self.value:.1%} (n = {self.n})"

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: nothing to measure"
        within = "" if self.low is None else f", 95 % interval {self.low:.3f} to {self.high:.3f}"
        if self.method == "bootstrap" and self.low == self.high:
            within = "; no photo differs from the others, so there is no interval"
        return f"{self.name} {self.value:.3f} (n = {self.n} {self.unit}{within})"


def share_figure(name: str, hits: int, n: int, unit: str = "photos") -> Figure:
    """A share of things that are independent of each other, with Wilson's score interval.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927; it is
    right for small n and for shares near 1 (Brown, Cai and DasGupta, "Interval Estimation for a
    Binomial Proportion", 2001). Photos of one scene are not independent: then it is too narrow.
    """
    if n == 0:
        return Figure(name=name, value=None, n=0, unit=unit)
    share, square = hits / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    spread = Z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    low, high = max(0.0, middle - spread), min(1.0, middle + spread)
    return Figure(
        name=name,
        value=round(share, _DIGITS),
        n=n,
        unit=unit,
        # Rounding must not push an end past the share itself.
        low=min(round(low, _DIGITS), round(share, _DIGITS)),
        high=max(round(high, _DIGITS), round(share, _DIGITS)),
        method="wilson",
    )


def ratio_figure(name: str, hits: Sequence[float], sizes: Sequence[int], unit: str) -> Figure:
    """A ratio of sums over photos, with a bootstrap over photos.

    Boxes of one photo stand and fall together, so photos are drawn, not boxes (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile interval). The
    draws are the same each time.

    Args:
        name: of the figure.
        hits: for each photo.
        sizes: for each photo, how many things there were.
        unit: what they are.
    """
    total = sum(sizes)
    if total == 0:
        return Figure(name=name, value=None, n=0, unit=unit)
    above, below = np.asarray(hits, np.float64), np.asarray(sizes, np.float64)
    value = round(float(above.sum() / below.sum()), _DIGITS)
    if len(above) < 2:
        return Figure(name=name, value=value, n=total, unit=unit)
    drawn = np.random.default_rng(_SEED).integers(0, len(above), (_ROUNDS, len(above)))
    tops, bottoms = above[drawn].sum(axis=1), below[drawn].sum(axis=1)
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Figure(
        name=name,
        value=value,
        n=total,
        unit=unit,
        low=round(float(low), _DIGITS),
        high=round(float(high), _DIGITS),
        method="bootstrap",
    )


def mean_figure(name: str, values: Sequence[float], unit: str = "photos") -> Figure:
    """The mean of one number for each photo, with a bootstrap over photos."""
    return ratio_figure(name, values, [1] * len(values), unit)


def agreement_figure(task: str, compared: Sequence[Comparison]) -> Figure:
    """The figure that the gate looks at.

    Detection: the share of the reference's boxes that were found again (same class, IoU >= 0.5).
    Classification: the share of photos with the same best class. Tensors: the share of samples
    within the golden tolerance, or with a cosine of at least 0.99 on every output.
    """
    if task == "detection":
        return ratio_figure(
            "matched boxes",
            [one.hits for one in compared],
            [one.wanted for one in compared],
            "boxes",
        )
    name = "top-1 agreement" if task == "classification" else "samples that agree"
    return share_figure(name, sum(one.hits for one in compared), len(compared))


def other_figures(task: str, compared: Sequence[Comparison]) -> tuple[Figure, ...]:
    """Further metrics of the task, and the distances of each output tensor."""
    figures: list[Figure] = []
    if task == "classification":
        hits = sum(one.top5 for one in compared)
        figures.append(share_figure("top-5 agreement", hits, len(compared)))
    if task == "detection":
        hits_of = [one.hits for one in compared]
        figures += [
            ratio_figure("precision", hits_of, [one.found for one in compared], "boxes"),
            ratio_figure("mean IoU", [one.overlap for one in compared], hits_of, "boxes"),
        ]
    return (*figures, *_distances(compared))


def _distances(compared: Sequence[Comparison]) -> list[Figure]:
    names = dict.fromkeys(one.name for photo in compared for one in photo.distances)
    figures = []
    for name in names:
        mine = [one for photo in compared for one in photo.distances if one.name == name]
        for label, values in (
            ("relative L2", [one.relative_l2 for one in mine]),
            ("cosine", [one.cosine for one in mine]),
            ("largest difference", [one.max_abs for one in mine]),
        ):
            known = [value for value in values if value is not None]
            figures.append(mean_figure(f"{label} of {name}", known))
    return figures
