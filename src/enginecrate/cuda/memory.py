"""Memory that grows, on the GPU and on the host, and page-locked memory of other owners."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any, Self

import numpy as np

from enginecrate.cuda.device import Device
from enginecrate.values import Array

__all__ = ["Buffer", "PinnedBuffer", "RegisteredMemory"]

_ALIGNED = 256


class Buffer:
    """Memory on the GPU that grows when needed. Its content does not survive that."""

    def __init__(self, device: Device) -> None:
        """Nothing is allocated yet."""
        self._device = device
        self.pointer = 0
        self.size = 0

    def reserve(self, size: int) -> bool:
        """Make room for `size` bytes; whether the address has changed.

        Raises:
            EngineRunFailed: the memory does not suffice.
        """
        if self.pointer and size <= self.size:
            return False
        self.free()
        rounded = max(_ALIGNED, -(-size // _ALIGNED) * _ALIGNED)  # an empty tensor has an address
        self.pointer = self._device.allocate(rounded)
        self.size = rounded
        return True

    def free(self) -> None:
        """Give it back. A second call does nothing."""
        if self.pointer:
            pointer, self.pointer, self.size = self.pointer, 0, 0
            self._device.free(pointer)


class PinnedBuffer:
    """Page-locked memory of the host, for copies that run beside other work; grows when needed."""

    def __init__(self, device: Device) -> None:
        """Nothing is allocated yet."""
        self._device = device
        self.pointer = 0
        self._size = 0

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes. Raises `EngineRunFailed`."""
        if self.pointer and size <= self._size:
            return
        self.free()
        rounded = max(_ALIGNED, size)
        self.pointer = self._device.allocate_pinned(rounded)
        self._size = rounded

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Its bytes as an array, valid until the next `reserve` or `free`."""
        count = int(np.prod(shape, dtype=np.int64))
        self.reserve(count * dtype.itemsize)
        raw: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(self.pointer)
        array: Array = np.frombuffer(raw, np.uint8).view(dtype).reshape(shape)
        return array

    def free(self) -> None:
        """Give it back. A second call does nothing."""
        if self.pointer:
            pointer, self.pointer, self._size = self.pointer, 0, 0
            self._device.free_pinned(pointer)


class RegisteredMemory:
    """Memory of another owner, such as a mapped file, page-locked until `close`.

    Copies from and to it then run beside other work, and need no page-locked copy of it. A context
    manager.
    """

    def __init__(self, device: Device, pointer: int, size: int) -> None:
        """Page-lock it. It must stay where it is until `close`.

        Raises:
            EngineRunFailed: the driver refuses; the limit of locked memory may be reached.
        """
        self._device = device
        self.pointer = pointer
        self.size = size
        device.register(pointer, size)

    def close(self) -> None:
        """Let it go. A second call does nothing."""
        if self.pointer:
            pointer, self.pointer = self.pointer, 0
            self._device.unregister(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
