"""Statistics of HTTP in this process: answers by status, refusals by reason, connections."""

from __future__ import annotations

from enginecrate.server.statistics.layout import (
    CONNECTIONS,
    REFUSAL_REASONS,
    REFUSALS,
    RESPONSES,
)
from enginecrate.server.statistics.page import CounterPage

__all__ = ["HttpStatistics"]

_REFUSALS: dict[str, int] = {
    reason: REFUSALS + number for number, reason in enumerate(REFUSAL_REASONS)
}

_OTHER = _REFUSALS["other"]


class HttpStatistics:
    """Counts on a page. For the event loop's thread alone: no other one changes these words."""

    def __init__(self, page: CounterPage) -> None:
        self._words = page.words

    def answered(self, status: int) -> None:
        """A request was answered."""
        self._words[RESPONSES + status // 100] += 1

    def refused(self, reason: str) -> None:
        """A sound request was refused. `reason`: what there is too much of, as `QueueFull` says."""
        self._words[_REFUSALS.get(reason, _OTHER)] += 1

    def connected(self) -> None:
        """A client has opened a connection."""
        self._words[CONNECTIONS] += 1
