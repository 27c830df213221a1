"""A finding: the outcome of one check of the doctor."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["GIB", "Finding"]

GIB = 1024**3


class Finding(msgspec.Struct, frozen=True):
    """One check: `fail` stops the work, `warn` does not."""

    check: str
    status: Literal["ok", "warn", "fail"]
    message: str
    cure: str = ""
