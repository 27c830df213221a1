"""Versions of drivers and libraries, compared as numbers."""

from __future__ import annotations

import re

__all__ = ["at_least", "numbers", "same_release"]

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: `580.65.06` gives `(580, 65, 6)`.

    Raises:
        ValueError: it does not begin with a number.
    """
    match = _NUMBERS.match(text.strip())
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    return tuple(int(part) for part in match[0].split("."))


def at_least(have: str, need: str) -> bool:
    """True when a version is as new as another, or newer.

    A shortened version stands for the newest of its branch: `580` is at least `580.65.06`, and
    `550.54` is at least `550.54.14`. Raises `ValueError`.
    """
    mine, least = numbers(have), numbers(need)
    return mine >= least[: len(mine)]


def same_release(version: str, other: str) -> bool:
    """True when two versions agree as far as both go: `10.16.1` and `10.16.1.11` do."""
    return all(a == b for a, b in zip(numbers(version), numbers(other), strict=False))
