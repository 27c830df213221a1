"""The habits of a registry with uploads, as they are learned from its refusals.

They are remembered for all blobs: no blob is sent in vain to find out again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["UploadHabits"]

_ANY = 1 << 62
_SMALLER = (4 << 20, 1 << 20)
"""Bytes of pieces that are tried after a larger one was refused: GitHub's limit, and nginx's."""
_TOO_LARGE = 413


@dataclass
class UploadHabits:
    """The sizes that a registry takes, and whether its count of stored bytes can be relied on.

    largest_piece, largest_whole: bytes of a request with a part of a blob, and with all of it.
    takes_pieces: parts are taken at all.
    taken: the largest part that it took.
    counts: the header `Range` says how much it has.
    """

    largest_piece: int = _ANY
    largest_whole: int = _ANY
    takes_pieces: bool = True
    taken: int = 0
    counts: bool = True
    _is_known: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Around the sending of a part: the first one goes alone, and the others learn from it."""
        if self._is_known:
            yield
            return
        with self._lock:
            yield
            self._is_known = True

    def refuse_piece(self, size: int, status: int, least: int) -> bool:
        """Remember a refusal of a part; true if smaller ones are worth a try."""
        limits = _SMALLER if status == _TOO_LARGE else _SMALLER[:1]
        smaller = [limit for limit in limits if least <= limit < size]
        if not smaller:
            return False
        self.largest_piece = min(self.largest_piece, smaller[0])
        return True

    def refuse_whole(self, size: int) -> bool:
        """Remember a refusal of a whole blob; true if parts are worth a try."""
        if not self.takes_pieces or size <= _SMALLER[-1]:
            return False
        limit = next(limit for limit in _SMALLER if limit < size)
        self.largest_whole = min(self.largest_whole, limit)
        self.largest_piece = min(self.largest_piece, limit)
        return True
