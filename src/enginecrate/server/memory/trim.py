"""Gives memory that is free back to the system: the C library keeps it for later."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

__all__ = ["give_back_free_memory"]


def give_back_free_memory() -> None:
    """After a burst. It takes milliseconds, and holds up who allocates meanwhile."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """`malloc_trim(3)`; other C libraries than glibc have none."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
