"""The compressor of this machine: its library's version decides the bytes of a layer."""

from __future__ import annotations

import zlib
from typing import Literal

from enginecrate.errors import MissingExtra

__all__ = ["LEVELS", "compression_here"]

LEVELS = {"zstd": 12, "gzip": 9}
"""zstd 12: smaller than gzip 9 in a quarter of its time; higher levels cost seconds for 1 %."""


def compression_here(name: Literal["zstd", "gzip"]) -> str:
    """`zstd 1.5.7 level 12`: compressor, version of its library here, and level.

    A lock that names another version was written elsewhere: the layers' contents (diffIDs) are the
    same, their compressed bytes may differ.

    Raises:
        MissingExtra: zstandard is not installed.
    """
    return f"{name} {_version(name)} level {LEVELS[name]}"


def _version(name: str) -> str:
    if name == "gzip":
        return zlib.ZLIB_RUNTIME_VERSION
    try:
        import zstandard
    except ImportError as exc:
        raise MissingExtra("zstandard", extra="image") from exc
    return ".".join(map(str, zstandard.ZSTD_VERSION))
