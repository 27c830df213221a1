"""What is in an image's layers, merged: digests of all files, and the bytes of a few."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from enginecrate.values import Digest

__all__ = ["APP", "MAX_KEPT", "PLANS", "Contents", "Hashed", "is_interesting"]

APP = "opt/enginecrate/app/"
PLANS = "opt/enginecrate/plans/"

MAX_KEPT = 16 << 20
"""Of one file."""


def is_interesting(path: str) -> bool:
    """Files that verification reads: small, and named here."""
    name = PurePosixPath(path).name
    return (
        path in (f"{APP}enginecrate.toml", f"{APP}enginecrate.lock", "var/lib/dpkg/status")
        or path.startswith("var/lib/dpkg/status.d/")
        or (name == "METADATA" and ".dist-info/" in path)
        or (name == "plan.json" and path.startswith(PLANS))
    )


@dataclass(slots=True)
class Contents:
    """The files of an image as a container sees them.

    files: digests by path, without a leading slash. kept: the bytes of those that are interesting.
    """

    files: dict[str, Digest] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)


class Hashed:
    """A reader that hashes what passes."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._hasher = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hasher.update(data)
        return data

    @property
    def digest(self) -> Digest:
        """Of everything so far."""
        return Digest(f"sha256:{self._hasher.hexdigest()}")
