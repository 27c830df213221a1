"""Plans in memory, for when no disk has room for them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from enginecrate.engines.base import BuiltPlan, Plan
from enginecrate.errors import CacheFull
from enginecrate.values import PlanInfo

__all__ = ["SparePlan", "keep_in_memory", "open_spare", "spare_plan"]

_log = logging.getLogger(__name__)


class SparePlan(Plan):
    """A plan in a nameless file in memory (memfd_create(2)), which is gone with this process."""

    def free(self) -> None:
        """Give the memory back; an engine that was loaded does not need it. Call it once."""
        os.close(int(self.path.name))


def open_spare() -> int:
    """A new descriptor of a nameless, empty file in memory."""
    return os.memfd_create("plan", os.MFD_CLOEXEC)


def spare_plan(descriptor: int, info: PlanInfo) -> SparePlan:
    """The content of a spare file as a plan. The descriptor stays open with it."""
    return SparePlan(Path(f"/proc/self/fd/{descriptor}"), info)


def keep_in_memory(built: BuiltPlan, error: CacheFull, descriptor: int | None = None) -> SparePlan:
    """Keep a plan that the cache has no room for; a `WhenFull` of `builder/plans/plan.py`.

    Args:
        built: the plan.
        error: what the cache said.
        descriptor: of a spare file; default: a new one.

    Raises:
        CacheFull: the plan has several files.
    """
    if built.files:
        raise error
    _log.warning("the plan is kept in memory and built again at the next start: %s", error)
    descriptor = open_spare() if descriptor is None else descriptor
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(built.data)
    return spare_plan(descriptor, built.info)
