"""The outcome of a future that a thread settles, for a coroutine: one wake-up for many of them.

`asyncio.wrap_future` wakes the event loop once for each future, by a write to a pipe. Here all that
threads settle before the loop looks share one wake-up: a batch of 32 costs one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["outcome"]

T = TypeVar("T")


async def outcome(future: Future[T]) -> T:
    """Wait for a future, and give its result or raise its error.

    A caller that is cancelled cancels the future.
    """
    if future.done():
        return future.result()
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    _mailbox(loop).expect(future, waiter)
    try:
        await waiter
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.result()


class _Mailbox:
    """What was settled and waits for its event loop to look."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._settled: deque[asyncio.Future[None]] = deque()
        self._is_woken = False

    def expect(self, future: Future[Any], waiter: asyncio.Future[None]) -> None:
        """Finish the waiter, in the loop, when the future is settled."""
        future.add_done_callback(lambda _: self._post(waiter))

    def _post(self, waiter: asyncio.Future[None]) -> None:
        self._settled.append(waiter)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._is_woken = False  # first: what is posted from now on wakes again
        while self._settled:
            waiter = self._settled.popleft()
            if not waiter.done():
                waiter.set_result(None)


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Mailbox] = WeakKeyDictionary()


def _mailbox(loop: asyncio.AbstractEventLoop) -> _Mailbox:
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = _Mailbox(loop)
    return mailbox
