"""The status of the ladder in a front end: as the engine process has told it."""

from __future__ import annotations

from typing import Any

from enginecrate.server.model.ladder_status import LadderStatus
from enginecrate.server.model.snapshot import ModelSnapshot
from enginecrate.server.statistics.model_statistics import ModelStatistics

__all__ = ["FollowedLadder"]

_SUMMARY = ("rung", "rungs", "origin", "building", "failed")


class FollowedLadder(LadderStatus):
    """Reads like the status that it follows."""

    def __init__(self, statistics: ModelStatistics, told: ModelSnapshot) -> None:
        """`told`: by the engine process."""
        super().__init__(statistics)
        self._told = told

    @property
    def build(self) -> tuple[str, float] | None:
        return self._told.build

    def summary(self) -> dict[str, Any]:
        return {name: self._told.ladder[name] for name in _SUMMARY}

    def as_dict(self) -> dict[str, Any]:
        return self._told.ladder
