"""A fault of a manifest, before its line is known."""

from __future__ import annotations

from dataclasses import dataclass

from enginecrate.errors import ManifestInvalid

__all__ = ["CheckFault", "Key"]

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class CheckFault:
    """What is wrong with a key, and the cure. warning: it is odd, and works."""

    key: Key
    message: str
    code: str = ManifestInvalid.code
    warning: bool = False
