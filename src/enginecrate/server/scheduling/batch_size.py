"""The largest batch: the engine's own and the manifest's limit, and less while memory is short."""

from __future__ import annotations

import logging
import time

__all__ = ["BatchSize"]

_log = logging.getLogger(__name__)

_SHED_SECONDS = 30.0
"""After this time twice the size is tried again."""


class BatchSize:
    """How many samples may be in a batch. 0: the first dimension is not a batch."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._shed: int | None = None
        self._shed_until = 0.0

    def limit(self, most: int) -> None:
        """No larger batches than this from now on."""
        self.most = min(self.most, most)

    def now(self) -> int:
        """The limit at this moment."""
        if self._shed is None:
            return self.most
        now = time.monotonic()
        if now >= self._shed_until:
            self._shed, self._shed_until = self._shed * 2, now + _SHED_SECONDS
            if self._shed >= self.most:
                self._shed = None
                return self.most
        return self._shed

    def shed(self, samples: int, reason: Exception) -> None:
        """A batch of this size did not fit into memory: half of it is the limit for a while."""
        if self._shed is None:
            _log.warning(
                "a batch of %d samples did not fit into memory (%s); batches are half as large "
                "for %.0f seconds, and its requests run again",
                samples, reason, _SHED_SECONDS,
            )  # fmt: skip
        self._shed = max(1, min(samples // 2, self._shed or samples))
        self._shed_until = time.monotonic() + _SHED_SECONDS
