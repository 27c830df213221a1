"""Counter pages: the figures of one process, in memory that other processes can read.

A page has one writing process. Its counters only grow, each in one aligned word of 64 bits, so that
a reader sees an old or a new value and nothing between. Gauges are what the process last said of
itself.

All pages of a server lie in one memfd, which the supervisor makes before it starts the first child
and hands to each of them: page 0 is the engine process's, page n that of front end n. The process
that is started in the place of a dead one goes on with its page and counts from where it stopped.
So nothing is ever moved from one page to another, and a sum over all pages cannot fall, whoever
dies and whoever reads meanwhile. The supervisor writes the header of each page and, once a process
is dead, its gauges; the process writes the rest.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator

from enginecrate.server.memory.arena import SealError, map_shared, new_arena
from enginecrate.server.statistics.layout import (
    GAUGE_NAMES,
    GAUGES,
    KIND,
    KINDS,
    MAGIC,
    PAGE_BYTES,
    PROCESS,
    STARTED_MS,
    STARTED_NS,
    STARTS,
    GaugeName,
    ProcessKind,
)

__all__ = ["CounterPage", "PageError", "StatisticsPages", "make_pages", "open_pages"]

_PUBLISH_SECONDS = 0.25


class PageError(Exception):
    """A descriptor holds no pages of this version."""


class CounterPage:
    """The page of one process.

    words: 64-bit counters; `cells`: the same memory as 32-bit ones, for slices.
    lock: held by a thread that changes a word which several threads change.
    """

    def __init__(self, memory: memoryview) -> None:
        self.words = memory.cast("Q")
        self.cells = memory.cast("I")
        self.lock = threading.Lock()
        self._gauges = memory.cast("d")[GAUGES : GAUGES + len(GAUGE_NAMES)]
        self._sources: dict[GaugeName, Callable[[], float]] = {}

    @property
    def kind(self) -> ProcessKind | None:
        """The kind of process that has it; `None`: none has had it yet."""
        number = self.words[KIND]
        return KINDS[number - 1] if number else None

    @property
    def has_process(self) -> bool:
        """True while a process writes."""
        return bool(self.words[PROCESS])

    @property
    def restarts(self) -> int:
        """How often a process took the place of another one."""
        return max(0, self.words[STARTS] - 1)

    def measure(self, name: GaugeName, source: Callable[[], float]) -> None:
        """Ask for a gauge here whenever gauges are published."""
        self._sources[name] = source

    def publish_regularly(self) -> None:
        """Publish gauges from now on, as long as the running loop runs: others read this page."""
        self.publish()
        asyncio.get_running_loop().call_later(_PUBLISH_SECONDS, self.publish_regularly)

    def publish(self) -> None:
        """Write the gauges of this process."""
        for name, source in self._sources.items():
            self._gauges[GAUGE_NAMES.index(name)] = source()

    def gauges(self) -> dict[GaugeName, float]:
        """What the process last said; zeros when it is gone."""
        values = self._gauges.tolist() if self.has_process else [0.0] * len(GAUGE_NAMES)
        return dict(zip(GAUGE_NAMES, values, strict=True))

    def begin(self, kind: ProcessKind, process: int) -> None:
        """A process writes from now on. For the supervisor, once the one before it is reaped."""
        words = self.words
        if not words[STARTS]:
            words[STARTED_MS] = time.time_ns() // 1_000_000
            words[STARTED_NS] = time.monotonic_ns()
        words[KIND] = KINDS.index(kind) + 1
        words[STARTS] += 1
        words[PROCESS] = process

    def end(self) -> None:
        """The process is dead and reaped. For the supervisor."""
        self.words[PROCESS] = 0
        for position in range(len(GAUGE_NAMES)):
            self._gauges[position] = 0.0


class StatisticsPages:
    """The pages of all processes of a server, by number.

    fd: of the memfd, to be inherited by children; -1 when no other process has it.
    """

    def __init__(self, memory: mmap.mmap, fd: int) -> None:
        self.fd = fd
        whole = memoryview(memory)
        starts = range(0, len(whole), PAGE_BYTES)
        self._pages = [CounterPage(whole[start : start + PAGE_BYTES]) for start in starts]

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[CounterPage]:
        return iter(self._pages)

    def __getitem__(self, number: int) -> CounterPage:
        return self._pages[number]


def make_pages(count: int, *, shared: bool) -> StatisticsPages:
    """Pages that no process has yet. Those that are never used take next to no memory.

    Args:
        count: how many.
        shared: in a memfd whose size is sealed, for other processes.
    """
    arena = new_arena(0, PAGE_BYTES, count, shared=shared)
    pages = StatisticsPages(arena.memory, arena.fd)
    for page in pages:
        page.words[0] = MAGIC
    return pages


def open_pages(fd: int) -> StatisticsPages:
    """The pages that another process made.

    Args:
        fd: of the memfd; it stays open.

    Raises:
        PageError: it holds something else.
    """
    size = os.fstat(fd).st_size
    try:
        memory = map_shared(fd, size // PAGE_BYTES * PAGE_BYTES)
    except SealError as exc:
        raise PageError(f"descriptor {fd} holds no statistics: {exc}") from exc
    pages = StatisticsPages(memory, fd)
    if any(page.words[0] != MAGIC for page in pages):
        raise PageError(f"descriptor {fd} holds no statistics of this version")
    return pages
