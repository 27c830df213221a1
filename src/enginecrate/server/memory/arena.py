"""Arenas: memory of equal slots, shared with another process, or of this process alone.

A shared arena is a memfd whose size is sealed: the descriptor goes to the engine process, and a
memfd that its sender could still shrink would end the engine by SIGBUS.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
from dataclasses import dataclass, field

__all__ = ["Arena", "SealError", "map_shared", "new_arena"]

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SealError(Exception):
    """A descriptor is no memfd whose size is sealed."""


@dataclass(slots=True, eq=False)
class Arena:
    """Memory of equal slots.

    number: its name in messages; never used again.
    fd: of the memfd; -1 for memory of this process alone.
    address: of its first byte in this process.
    free: slots that may be leased.
    was_used: a slot was leased since it was last asked for.
    """

    number: int
    fd: int
    slot_bytes: int
    slots: int
    memory: mmap.mmap
    address: int
    free: list[int] = field(default_factory=list)
    was_used: bool = False

    @property
    def size(self) -> int:
        """Bytes of all slots."""
        return self.slot_bytes * self.slots

    @property
    def is_idle(self) -> bool:
        """True when no slot is leased."""
        return len(self.free) == self.slots

    def view(self, slot: int, size: int) -> memoryview:
        """The first bytes of a slot."""
        start = slot * self.slot_bytes
        return memoryview(self.memory)[start : start + size]

    def close(self) -> None:
        """Give the memory back; arrays that still lie in it keep it until they go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        with contextlib.suppress(BufferError):
            self.memory.close()


def new_arena(number: int, slot_bytes: int, slots: int, *, shared: bool) -> Arena:
    """Reserve memory; pages are taken when they are first written.

    Args:
        number: its name in messages.
        slot_bytes: size of one slot, in bytes; a multiple of the page size.
        slots: how many.
        shared: as a sealed memfd.

    Raises:
        OSError, MemoryError: the machine has no memory, or no descriptors, left.
    """
    size = slot_bytes * slots
    fd = -1
    if shared:
        fd = os.memfd_create(f"enginecrate-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            memory = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            raise
    else:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return Arena(number, fd, slot_bytes, slots, memory, _address(memory), list(range(slots)))


def map_shared(fd: int, size: int) -> mmap.mmap:
    """Map another process's arena.

    Args:
        fd: of a memfd; it stays open.
        size: bytes that its sender says it has.

    Raises:
        SealError: its size can still change, or is another one.
        OSError: it cannot be mapped.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as exc:
        raise SealError("the descriptor is no memfd that can be sealed") from exc
    if seals & _SEALS != _SEALS:
        raise SealError("the size of the memfd is not sealed")
    found = os.fstat(fd).st_size
    if found != size or not size:
        raise SealError(f"the memfd has {found} bytes, and {size} were announced")
    return mmap.mmap(fd, size)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
