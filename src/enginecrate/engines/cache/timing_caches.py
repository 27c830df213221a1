"""Timing caches: the speed of kernels, as builders measured it, kept from build to build.

    <cache>/timing/<backend>-<version>-<device>.cache

A timing cache makes the next build quicker, and lets it choose the same kernels again. It is no
plan: a builder checks it by itself, and a damaged or missing one costs only time. The last writer
wins; a builder that was handed the stored cache writes back a larger one.
"""

from __future__ import annotations

import re
from pathlib import Path

from enginecrate.files.eviction import mark_used
from enginecrate.files.private_folder import is_ours, write_ours

__all__ = ["TimingCaches"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_.]+")


class TimingCaches:
    """Timing caches in a folder of ours. Several processes may use the same one at once."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before the first `put`. `root` is the cache folder."""
        self._folder = root / "timing"

    def path(self, backend: str, version: str, device: str) -> Path:
        """Where the cache of this builder for this kind of device is, or will be."""
        parts = (_UNSAFE.sub("_", part) for part in (backend, version, device))
        return self._folder / f"{'-'.join(parts)}.cache"

    def get(self, backend: str, version: str, device: str) -> bytes:
        """The bytes of the last build's cache; empty when there is none, or it is unreadable.

        Raises:
            CacheUnusable: the folder belongs to another user, or others may write to it.
        """
        if not is_ours(self._folder):
            return b""
        path = self.path(backend, version, device)
        try:
            data = path.read_bytes()
        except OSError:
            return b""
        mark_used(path)
        return data

    def put(self, backend: str, version: str, device: str, data: bytes) -> None:
        """Store a cache, whole or not at all; empty bytes leave the stored one.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
            CacheFull: the disk is full.
        """
        if data:
            write_ours(self.path(backend, version, device), data, "the timing cache")
