"""A thread that belongs to one engine, for libraries that keep state by thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["OwnThread"]

P = ParamSpec("P")
R = TypeVar("R")


class OwnThread:
    """Runs calls one after the other, always in the same thread."""

    def __init__(self, name: str) -> None:
        """The thread starts with the first call."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def call(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something and wait for it. Raises what it raises.

        Raises:
            RuntimeError: the thread has ended.
        """
        return self._pool.submit(work, *args, **kwargs).result()

    def end(self) -> None:
        """Let the thread end after its last call. A second call does nothing."""
        self._pool.shutdown(wait=True)
