"""Errors for people whose cache folder cannot be written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from enginecrate.errors import CacheFull, CacheUnusable

__all__ = ["is_full", "refuse_larger", "write_refused"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No space on the device, none left of the user's quota, or larger than a file may be."""


def is_full(exc: OSError) -> bool:
    """True when a write failed for want of space."""
    return exc.errno in _FULL


def write_refused(what: str, folder: Path, exc: OSError, needed: int) -> CacheUnusable:
    """The error for a write that the operating system refused.

    Args:
        what: was to be written, for example "the plan".
        folder: where.
        exc: the refusal.
        needed: bytes that were to be written.
    """
    if not is_full(exc):
        return CacheUnusable(
            f"cannot write {what} to {folder}: {exc.strerror}; correct its permissions, or choose "
            "another folder with the setting cache_dir"
        )
    return CacheFull(
        f"cannot write {what} to {folder}: {exc.strerror}; {needed:,} bytes are needed"
        f"{_free(folder)}; make room there, lower cache_max_bytes so that old plans go earlier, or "
        "choose a folder on another disk with the setting cache_dir"
    )


def refuse_larger(what: str, size: int, limit: int) -> None:
    """Refuse what is larger than the whole cache may become. Raises `CacheFull`."""
    if limit and size > limit:
        raise CacheFull(
            f"{what} has {size:,} bytes, and the whole cache may have {limit:,}; raise the setting "
            f"cache_max_bytes to at least {size:,}, or set it to 0 for no limit"
        )


def _free(folder: Path) -> str:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f", and {shutil.disk_usage(folder).free:,} are free on its disk"
    except OSError:
        return ""
