"""Modules, which hold compiled code for the GPU, and their kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int, c_void_p
from typing import Any

from enginecrate.cuda.device import Device
from enginecrate.cuda.streams import Stream
from enginecrate.errors import DeviceLost, EngineRunFailed

__all__ = ["Kernel", "Module"]

_LOG_BYTES = 8192
_ERROR_LOG, _ERROR_LOG_SIZE = 5, 6  # CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES

Extent = tuple[int, int, int]
"""Sizes in x, y and z."""


class Module:
    """Code that is loaded on one GPU. `close` unloads it."""

    def __init__(self, device: Device, code: bytes) -> None:
        """Load code; PTX is compiled for the GPU by the driver.

        Args:
            device: the GPU.
            code: PTX text, a cubin or a fat binary.

        Raises:
            EngineRunFailed: the driver refuses the code; the compiler's words are in the message.
        """
        self._device = device
        log = ctypes.create_string_buffer(_LOG_BYTES)
        names = (c_int * 2)(_ERROR_LOG, _ERROR_LOG_SIZE)
        values = (c_void_p * 2)(ctypes.addressof(log), _LOG_BYTES)
        handle = c_void_p()
        try:
            device.call("cuModuleLoadDataEx", ctypes.byref(handle), code, 2, names, values)
        except DeviceLost:
            raise
        except EngineRunFailed as exc:
            said = " ".join(log.value.decode(errors="replace").split())
            raise EngineRunFailed(
                f"{exc}; the compiler says: {said}" if said else str(exc)
            ) from exc
        self._handle = handle.value

    def kernel(self, name: str) -> Kernel:
        """A function of the code by its name. Raises `EngineRunFailed`."""
        handle = c_void_p()
        self._device.call("cuModuleGetFunction", ctypes.byref(handle), self._handle, name.encode())
        return Kernel(self._device, handle.value or 0)

    def close(self) -> None:
        """Unload it; its kernels must not be launched any more. A second call does nothing."""
        if self._handle:
            handle, self._handle = self._handle, None
            self._device.release("cuModuleUnload", handle)


class Kernel:
    """A function on the GPU; its module must stay loaded."""

    def __init__(self, device: Device, handle: int) -> None:
        """`handle`: a CUfunction. See `Module.kernel`."""
        self._device = device
        self._handle = handle

    def launch(
        self,
        stream: Stream,
        grid: Extent,
        block: Extent,
        arguments: Sequence[Any],
        shared_bytes: int = 0,
    ) -> None:
        """Put a run into a stream. What goes wrong in the kernel is told by a later call.

        Args:
            stream: to run in.
            grid: blocks.
            block: threads of a block.
            arguments: ctypes values of exactly the types that the kernel declares; addresses on
                the GPU are `c_uint64`. They are copied at once.
            shared_bytes: shared memory of each block, besides what the kernel declares.

        Raises:
            EngineRunFailed: the driver refuses the launch.
        """
        places = (c_void_p * len(arguments))(*(ctypes.addressof(value) for value in arguments))
        self._device.call(
            "cuLaunchKernel", self._handle, *grid, *block, shared_bytes, stream.handle, places, None
        )
