"""Arenas that a GPU reads and writes by itself: their pages are locked for it.

A copy from locked memory needs no processor and no buffer of the driver's. Locking costs more
than a copy, so it is done once for each arena. It is undone before the arena is unmapped, and
only when nothing that runs uses it any more: the GPU would go on with the old pages.
"""

from __future__ import annotations

import logging
import mmap
import sys

import numpy as np

from enginecrate.cuda.device import Device
from enginecrate.cuda.memory import RegisteredMemory
from enginecrate.errors import EnginecrateError

__all__ = ["RegisteredArenas"]

_UNUSED = 3
"""References to an arena that only this class still has: its list, a variable, an argument."""

_log = logging.getLogger(__name__)


class RegisteredArenas:
    """Arenas by their mappings. For the loop's thread."""

    def __init__(self) -> None:
        """Nothing is locked before a device is known."""
        self._device: Device | None = None
        self._arenas: dict[int, tuple[mmap.mmap, RegisteredMemory | None]] = {}
        self._dropped: list[tuple[mmap.mmap, RegisteredMemory | None]] = []

    @property
    def registered(self) -> int:
        """Arenas whose pages are locked."""
        return sum(each is not None for _, each in (*self._arenas.values(), *self._dropped))

    def use(self, device: Device) -> None:
        """Lock the arenas that there are, and those that come, for a GPU."""
        if self._device is not None:
            return
        self._device = device
        for key, (memory, _) in list(self._arenas.items()):
            self._arenas[key] = (memory, self._register(memory))

    def add(self, memory: mmap.mmap) -> None:
        """An arena was mapped."""
        self._arenas[id(memory)] = (memory, self._register(memory))

    def drop(self, memory: mmap.mmap) -> None:
        """An arena is used no more; `sweep` gives it back when nothing that runs uses it."""
        entry = self._arenas.pop(id(memory), None)
        if entry is not None:
            self._dropped.append(entry)

    def sweep(self) -> None:
        """Give back the arenas that were dropped and that nothing refers to."""
        kept = []
        for memory, registered in self._dropped:
            if sys.getrefcount(memory) > _UNUSED:
                kept.append((memory, registered))
            elif registered is not None:
                registered.close()
        self._dropped = kept

    def _register(self, memory: mmap.mmap) -> RegisteredMemory | None:
        if self._device is None:
            return None
        address = int(np.frombuffer(memory, np.uint8, 1).__array_interface__["data"][0])
        try:
            return RegisteredMemory(self._device, address, len(memory))
        except EnginecrateError as exc:
            _log.warning("the GPU cannot read an arena by itself; copies are slower: %s", exc)
            return None
