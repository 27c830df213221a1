"""Memory of a device as an engine needs it: allocate, copy in, across and out."""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np

from enginecrate.cuda.device import open_device
from enginecrate.cuda.streams import Stream
from enginecrate.values import Array

__all__ = ["CudaMemory", "DeviceMemory", "HostMemory"]


class DeviceMemory(Protocol):
    """One device's memory. A copy is finished when its call returns, but for those that `start`."""

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

    def start_in(self, pointer: int, array: Array) -> None:
        """As `copy_in`; it is finished, and the array may change, after `finish`."""
        ...

    def start_out(self, array: Array, pointer: int) -> None:
        """As `copy_out`; the array may be read after `finish`."""
        ...

    def start_across(self, target: int, source: int, size: int) -> None:
        """As `copy_across`, behind the copies that were started before."""
        ...

    def finish(self) -> None:
        """Wait for all copies that were started."""
        ...

    def wait_for(self, stream: int | None) -> None:
        """Wait for the work of others on a stream; `None`: there is none to wait for."""
        ...

    def available(self) -> int:
        """Free bytes now. Raises `DeviceLost` when the device is lost to this process."""
        ...

    def close(self) -> None:
        """Free what the copies need. A second call does nothing."""
        ...


class CudaMemory:
    """The memory of one GPU (`DeviceMemory`). Any thread may use it.

    Copies have a stream of their own and wait for it: work of other streams, such as
    onnxruntime's, is not ordered by them.
    """

    kind = "cuda"

    def __init__(self, device: int) -> None:
        """Use the GPU of this number.

        Raises:
            BackendUnavailable: there is no driver, or no such GPU.
            EngineRunFailed: the driver refuses.
        """
        self.device = device
        self._gpu = open_device(device)
        self._stream = Stream(self._gpu)

    def allocate(self, size: int) -> int:
        return self._gpu.allocate(size)

    def free(self, pointer: int) -> None:
        self._gpu.free(pointer)

    def available(self) -> int:
        return self._gpu.available()

    def start_in(self, pointer: int, array: Array) -> None:
        self._stream.copy_in(pointer, array.__array_interface__["data"][0], array.nbytes)

    def start_out(self, array: Array, pointer: int) -> None:
        self._stream.copy_out(array.__array_interface__["data"][0], pointer, array.nbytes)

    def start_across(self, target: int, source: int, size: int) -> None:
        self._stream.copy_across(target, source, size)

    def finish(self) -> None:
        self._stream.wait()

    def copy_in(self, pointer: int, array: Array) -> None:
        # From pageable memory the plain call may return before the data has arrived
        # (CUDA Driver API, "API synchronization behavior").
        self._stream.copy_in(pointer, array.ctypes.data, array.nbytes)
        self._stream.wait()

    def copy_out(self, array: Array, pointer: int) -> None:
        self._stream.copy_to_array(array, pointer)

    def copy_across(self, target: int, source: int, size: int) -> None:
        self._stream.copy_across(target, source, size)
        self._stream.wait()

    def wait_for(self, stream: int | None) -> None:
        self._stream.wait_for(stream)

    def close(self) -> None:
        self._stream.close()


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

    def start_in(self, pointer: int, array: Array) -> None:
        self.copy_in(pointer, array)

    def start_out(self, array: Array, pointer: int) -> None:
        self.copy_out(array, pointer)

    def start_across(self, target: int, source: int, size: int) -> None:
        self.copy_across(target, source, size)

    def finish(self) -> None:
        pass

    def wait_for(self, stream: int | None) -> None:
        pass

    def available(self) -> int:
        return 0

    def close(self) -> None:
        pass
