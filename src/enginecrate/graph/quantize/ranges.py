"""The values that a tensor takes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and the largest value that was seen, or that is to be kept."""

    low: float
    high: float
