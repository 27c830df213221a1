"""Recorded work of a stream (CUDA Driver API, "Graph Management")."""

from __future__ import annotations

import ctypes
from ctypes import c_void_p

from enginecrate.cuda.device import Device

__all__ = ["Graph"]


class Graph:
    """Work that was recorded once and runs with one call. It keeps the addresses of its recording.

    `Stream.capture` makes one.
    """

    def __init__(self, device: Device, recorded: int, stream: int) -> None:
        """Make recorded work executable.

        Args:
            device: the GPU.
            recorded: a CUgraph, which stays the caller's.
            stream: a CUstream, to run it in.

        Raises:
            EngineRunFailed: the driver refuses.
        """
        self._device = device
        self._stream = stream
        handle = c_void_p()
        device.call("cuGraphInstantiateWithFlags", ctypes.byref(handle), recorded, 0)
        self._handle = handle.value

    def launch(self) -> None:
        """Run it in its stream. Raises `EngineRunFailed`."""
        self._device.call("cuGraphLaunch", self._handle, self._stream)

    def close(self) -> None:
        """Free it. A second call does nothing."""
        if self._handle:
            handle, self._handle = self._handle, None
            self._device.release("cuGraphExecDestroy", handle)
