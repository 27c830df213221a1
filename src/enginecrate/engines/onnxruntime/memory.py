"""Memory of a device as an engine needs it: allocate, copy in, across and out."""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np

from enginecrate.values import Array

__all__ = ["DeviceMemory", "HostMemory"]


class DeviceMemory(Protocol):
    """One device's memory; every copy is finished when its call returns."""

    @property
    def kind(self) -> str:
        """As onnxruntime names the device: `cuda` or `cpu`."""
        ...

    @property
    def device(self) -> int:
        """Number of the device."""
        ...

    def allocate(self, size: int) -> int:
        """The address of `size` new bytes. Raises `EngineRunFailed` when there are none left."""
        ...

    def free(self, pointer: int) -> None: ...

    def copy_in(self, pointer: int, array: Array) -> None:
        """From a C-contiguous array on the host."""
        ...

    def copy_out(self, array: Array, pointer: int) -> None:
        """To a C-contiguous array on the host."""
        ...

    def copy_across(self, target: int, source: int, size: int) -> None:
        """Within the device."""
        ...

    def wait_for(self, stream: int | None) -> None:
        """Wait for the work of others on a stream; `None`: there is none to wait for."""
        ...


class HostMemory:
    """The host's memory in a device's place: what engines do with one can be tried on any CPU."""

    kind = "cpu"
    device = 0

    def __init__(self) -> None:
        self._buffers: dict[int, Array] = {}

    @property
    def allocated(self) -> int:
        """Bytes that were allocated and not freed."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def allocate(self, size: int) -> int:
        buffer = np.zeros(max(size, 1), np.uint8)
        pointer = int(buffer.ctypes.data)
        self._buffers[pointer] = buffer
        return pointer

    def free(self, pointer: int) -> None:
        del self._buffers[pointer]

    def copy_in(self, pointer: int, array: Array) -> None:
        ctypes.memmove(pointer, array.ctypes.data, array.nbytes)

    def copy_out(self, array: Array, pointer: int) -> None:
        ctypes.memmove(array.ctypes.data, pointer, array.nbytes)

    def copy_across(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def wait_for(self, stream: int | None) -> None:
        pass
