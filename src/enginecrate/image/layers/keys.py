"""Keys of contents: one digest over everything that decides them."""

from __future__ import annotations

import hashlib

__all__ = ["key_of"]


def key_of(*parts: str | bytes) -> str:
    """The same parts give the same key; where one ends and the next begins counts, too."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(f"{len(data)}:".encode())
        hasher.update(data)
    return f"sha256:{hasher.hexdigest()}"
