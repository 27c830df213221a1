"""Retries: their number, and the waits between them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from enginecrate.errors import EnginecrateError

__all__ = ["RETRYABLE", "Retry", "RetryableError", "retry_after"]

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may be gone a moment later."""

_T = TypeVar("_T")


class RetryableError(Exception):
    """A failure that another try may get over.

    error: what the user sees when no try is left. wait: seconds that the other side asks for.
    """

    def __init__(self, error: EnginecrateError, wait: float = 0.0) -> None:
        self.error, self.wait = error, wait
        super().__init__(str(error))


@dataclass(frozen=True, slots=True)
class Retry:
    """A limited number of tries, with waits that double and vary (so that clients spread out).

    first, longest: seconds. patience: the longest wait that a registry may ask for.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 20.0
    patience: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def run(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, which raises `RetryableError` to be called again."""
        attempt = 0
        while True:
            try:
                return work()
            except RetryableError as again:
                self.pause(attempt, again)
                attempt += 1

    def pause(self, attempt: int, again: RetryableError) -> None:
        """Wait before the next try; attempts count from 0. Raises the error after the last."""
        if attempt + 1 >= self.attempts or again.wait > self.patience:
            raise again.error from again
        ceiling = min(self.longest, self.first * 2.0**attempt)
        jittered = ceiling * (0.5 + secrets.randbelow(1000) / 2000)
        self.sleep(max(again.wait, jittered))


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the header `Retry-After` asks for (RFC 9110, 10.2.3); 0 without a valid one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
