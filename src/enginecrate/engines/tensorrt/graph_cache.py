"""CUDA graphs: the work of one shape, recorded once and played again."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol

from enginecrate.errors import DeviceLost, EngineRunFailed

__all__ = ["MAX_GRAPHS", "GraphCache", "Recorded"]

MAX_GRAPHS = 16
"""Shapes that have a graph; the one that was used longest ago makes room for the next."""

_log = logging.getLogger(__name__)


class Recorded(Protocol):
    """Recorded work (`cuda.graphs.Graph`)."""

    def launch(self) -> None: ...
    def close(self) -> None: ...


Record = Callable[[Callable[[], None]], Recorded]
"""Records what a function puts into a stream, without running it (`Stream.capture`)."""


class GraphCache:
    """The graphs of one engine.

    The first run of a shape is a plain one, which warms everything up; the second is recorded.
    Where recording fails, every run is plain, and `off` says why.
    """

    def __init__(self, record: Record, limit: int = MAX_GRAPHS, off: str = "") -> None:
        """Begin without graphs.

        Args:
            record: makes a graph of work.
            limit: of the number of graphs.
            off: why there shall be none; empty: there shall.
        """
        self._record_work = record
        self._limit = limit
        self._graphs: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._warm: OrderedDict[Hashable, None] = OrderedDict()
        self.off = off

    def __len__(self) -> int:
        return len(self._graphs)

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Do the work of this shape: plainly, or by its graph.

        Raises:
            EngineRunFailed: the work itself fails.
        """
        if self.off:
            work()
        elif key in self._graphs:
            self._graphs.move_to_end(key)
            self._graphs[key].launch()
        elif key not in self._warm:
            work()
            self._remember(key)
        else:
            self._record(key, work)

    def clear(self) -> None:
        """Forget all of them: an address has changed, or the engine is closed."""
        self._warm.clear()
        while self._graphs:
            self._graphs.popitem()[1].close()

    def _remember(self, key: Hashable) -> None:
        self._warm[key] = None
        if len(self._warm) > 4 * self._limit:
            self._warm.popitem(last=False)

    def _record(self, key: Hashable, work: Callable[[], None]) -> None:
        if len(self._graphs) >= self._limit:
            self._graphs.popitem(last=False)[1].close()
        try:
            graph = self._record_work(work)
        except DeviceLost:
            raise
        except EngineRunFailed as exc:
            self.off = str(exc)
            _log.info("no CUDA graphs for this plan: %s", exc)
            self.clear()
            work()
            return
        self._graphs[key] = graph
        graph.launch()
