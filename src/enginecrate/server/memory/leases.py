"""Leases: slots of arenas, by size class, within a budget.

A slot is free, or leased; a lease says in which state it is: `filling` while this process writes
it, `submitted` while an engine reads or writes it, `answered` while this process reads it again.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import count
from typing import Literal, Self

from enginecrate.errors import QueueFull
from enginecrate.server.memory.arena import Arena, new_arena
from enginecrate.values import Array

__all__ = ["STATES", "Lease", "LeasePool", "LeaseState", "slot_bytes"]

LeaseState = Literal["filling", "submitted", "answered"]

STATES: tuple[LeaseState, ...] = ("filling", "submitted", "answered")

_SMALLEST = 1 << 16
_ARENA_BYTES = 1 << 23
"""Small slots share an arena of about this size; larger ones have one of their own."""

_IDLE_BYTES = 1 << 26
"""Idle memory that is kept warm: a page that is touched first costs more than its copy."""


def slot_bytes(size: int) -> int:
    """The size class for a number of bytes: powers of two, and one and a half of them."""
    if size <= _SMALLEST:
        return _SMALLEST
    power = 1 << (size - 1).bit_length()
    three_quarters = power // 4 * 3
    return three_quarters if size <= three_quarters else power


class Lease:
    """Bytes of a slot, writable, until the last holder releases them.

    view: exactly the bytes that were asked for.
    arena, offset: where they lie, for another process.
    """

    __slots__ = ("_holders", "_pool", "_slot", "_state", "arena", "offset", "view")

    def __init__(self, pool: LeasePool, arena: Arena, slot: int, size: int, lead: int) -> None:
        self.view = arena.view(slot, lead + size)[lead:]
        self.arena = arena
        self.offset = slot * arena.slot_bytes + lead
        self._pool = pool
        self._slot = slot
        self._holders = 1
        self._state: LeaseState = "filling"

    @property
    def state(self) -> LeaseState:
        return self._state

    def retain(self) -> Self:
        """Hold the bytes once more; each holder releases once. From any thread."""
        with self._pool.lock:
            if self._holders <= 0:
                raise RuntimeError("a lease was retained after its last release")
            self._holders += 1
        return self

    def release(self) -> None:
        """Let go; the last holder's release frees the slot. From any thread."""
        with self._pool.lock:
            self._holders -= 1
            if self._holders > 0:
                return
            if self._holders < 0:
                raise RuntimeError("a lease was released once too often")
            self.view = memoryview(b"")
            self._pool.free(self.arena, self._slot, self._state)

    def __del__(self) -> None:
        """A lease that its holders forgot frees its slot, too: nobody can release it any more."""
        with self._pool.lock:
            if self._holders > 0:
                self._holders = 0
                self._pool.free(self.arena, self._slot, self._state)

    def mark(self, state: LeaseState) -> None:
        """Say what is done with the bytes."""
        with self._pool.lock:
            counts = self._pool.states
            counts[self._state] -= 1
            counts[state] += 1
            self._state = state


class LeasePool:
    """Gives out leases, and keeps idle arenas warm. Thread-safe.

    lock: of everything in it.
    states: leases by state.
    """

    def __init__(
        self,
        limit: int,
        *,
        shared: bool = False,
        on_new: Callable[[Arena], None] | None = None,
        on_idle: Callable[[Arena], None] = Arena.close,
    ) -> None:
        """Nothing is reserved yet.

        Args:
            limit: bytes of all slots that may be leased at once.
            shared: arenas are memfds, for another process.
            on_new: called with each new arena, before a slot of it is leased.
            on_idle: called with an arena that nobody uses any more, to close it.
        """
        self.limit = limit
        self.lock = threading.RLock()
        self.states: dict[LeaseState, int] = dict.fromkeys(STATES, 0)
        self._shared = shared
        self._on_new = on_new
        self._on_idle = on_idle
        self._numbers = count(1)
        self._leased = 0
        self._reserved = 0
        self._arenas: dict[int, Arena] = {}
        self._by_class: dict[int, list[Arena]] = {}
        self._addresses: list[int] = []
        self._by_address: dict[int, Arena] = {}
        self._closed = False

    @property
    def leased_bytes(self) -> int:
        """Bytes of all slots that are leased."""
        return self._leased

    @property
    def reserved_bytes(self) -> int:
        """Bytes of all arenas."""
        return self._reserved

    def counts(self) -> Mapping[LeaseState, int]:
        """Leases by state."""
        with self.lock:
            return dict(self.states)

    def lease(self, size: int, lead: int = 0) -> Lease:
        """Memory for a number of bytes, with what was in it before.

        Args:
            size: bytes.
            lead: that are left out in front of them, so that a later one of them lies well.

        Raises:
            QueueFull: the limit is reached, or the machine has no memory left.
        """
        needed = slot_bytes(lead + size)
        with self.lock:
            if self._leased + needed > self.limit or self._closed:
                raise self._full()
            arena = self._with_room(needed)
            slot = arena.free.pop()
            arena.was_used = True
            self._leased += needed
            self.states["filling"] += 1
            return Lease(self, arena, slot, size, lead)

    def take(self, size: int) -> None:
        """Count bytes that lie elsewhere. Raises `QueueFull` as `lease`; see `give_back`."""
        with self.lock:
            if self._leased + size > self.limit:
                raise self._full()
            self._leased += size

    def give_back(self, size: int) -> None:
        """Bytes that `take` has counted are gone."""
        with self.lock:
            self._leased -= size

    def free(self, arena: Arena, slot: int, state: LeaseState) -> None:
        """The slot of a lease whose last holder has let go; called with the lock held."""
        self.states[state] -= 1
        self._leased -= arena.slot_bytes
        arena.free.append(slot)
        if arena.number not in self._arenas:  # its generation is over
            if arena.is_idle:
                arena.close()
        elif arena.is_idle and self._reserved - self._leased > _IDLE_BYTES:
            self._forget(arena)
            self._on_idle(arena)

    def trim(self) -> None:
        """Give back every arena that nobody uses."""
        with self.lock:
            for arena in [each for each in self._arenas.values() if each.is_idle]:
                self._forget(arena)
                self._on_idle(arena)

    def trim_idle(self) -> None:
        """Give back the arenas that nobody has used since the last call."""
        with self.lock:
            for arena in list(self._arenas.values()):
                if arena.is_idle and not arena.was_used:
                    self._forget(arena)
                    self._on_idle(arena)
                arena.was_used = not arena.is_idle

    def renew(self) -> None:
        """Lease no slot of the arenas of today again; each is closed after its last release."""
        with self.lock:
            for arena in list(self._arenas.values()):
                self._forget(arena)
                if arena.is_idle:
                    arena.close()

    def close(self) -> None:
        """Lease nothing any more, and give all memory back as it becomes free."""
        with self.lock:
            self._closed = True
            self.renew()

    def locate(self, array: Array) -> tuple[Arena, int] | None:
        """The arena that a C-contiguous array lies in, and its offset there; `None` if nowhere."""
        address: int = array.__array_interface__["data"][0]
        with self.lock:
            position = bisect_right(self._addresses, address)
            if not position:
                return None
            arena = self._by_address[self._addresses[position - 1]]
        offset = address - arena.address
        if offset + array.nbytes > arena.size:
            return None
        return arena, offset

    def _full(self) -> QueueFull:
        return QueueFull(
            f"the bodies of all running requests take {self._leased} bytes already, of "
            f"{self.limit}; try again after a moment",
            reason="memory",
        )

    def _with_room(self, needed: int) -> Arena:
        arenas = self._by_class.setdefault(needed, [])
        for arena in reversed(arenas):
            if arena.free:
                return arena
        slots = max(1, _ARENA_BYTES // needed)
        try:
            arena = new_arena(next(self._numbers), needed, slots, shared=self._shared)
        except (OSError, MemoryError) as exc:
            raise QueueFull(
                f"the machine has no memory for {needed} bytes more ({exc}); "
                "try again after a moment",
                reason="memory",
            ) from exc
        if self._on_new is not None:
            self._on_new(arena)
        arenas.append(arena)
        self._arenas[arena.number] = arena
        self._reserved += arena.size
        self._by_address[arena.address] = arena
        self._addresses = sorted(self._by_address)
        return arena

    def _forget(self, arena: Arena) -> None:
        del self._arenas[arena.number]
        self._by_class[arena.slot_bytes].remove(arena)
        self._reserved -= arena.size
        del self._by_address[arena.address]
        self._addresses = sorted(self._by_address)
