"""Streams, where copies and kernels follow one another, and events, which mark places in them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_float, c_void_p

from enginecrate.cuda.device import Device
from enginecrate.cuda.graphs import Graph
from enginecrate.errors import EngineRunFailed
from enginecrate.values import Array

__all__ = ["Event", "Stream"]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_UNTIMED = 2  # CU_EVENT_DISABLE_TIMING


class Stream:
    """A stream of its own, which no work in the default stream waits for.

    Used by one thread at a time. `close` gives it back.

    Attributes:
        device: the GPU.
        handle: its CUstream, for libraries that put work into it.
    """

    def __init__(self, device: Device) -> None:
        """Make it. Raises `EngineRunFailed`."""
        self.device = device
        handle = c_void_p()
        device.call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        self.handle = handle.value or 0

    def copy_in(self, pointer: int, source: int, size: int) -> None:
        """From the host, in the stream. The source must stay as it is until that is done."""
        if size:
            self._call("cuMemcpyHtoDAsync_v2", pointer, source, size, self.handle)

    def copy_out(self, target: int, pointer: int, size: int) -> None:
        """To the host, in the stream."""
        if size:
            self._call("cuMemcpyDtoHAsync_v2", target, pointer, size, self.handle)

    def copy_across(self, target: int, source: int, size: int) -> None:
        """Within the GPU, in the stream."""
        if size:
            self._call("cuMemcpyDtoDAsync_v2", target, source, size, self.handle)

    def copy_to_array(self, array: Array, pointer: int) -> None:
        """To an array on the host, finished when it returns."""
        self.copy_out(array.ctypes.data, pointer, array.nbytes)
        self.wait()

    def wait(self) -> None:
        """Until everything in the stream is done. Raises `DeviceLost` when a kernel failed."""
        self._call("cuStreamSynchronize", self.handle)

    def is_done(self) -> bool:
        """True when everything in the stream is done."""
        self._check()
        return self.device.is_done("cuStreamQuery", self.handle)

    def wait_for(self, stream: int | None) -> None:
        """Until the work of another library's stream is done; `None`: there is none."""
        if stream is not None:
            self.device.call("cuStreamSynchronize", stream)

    def follow(self, event: Event) -> None:
        """Let what comes next in the stream begin after an event. The host goes on."""
        self._call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` puts into the stream, without running it.

        Raises:
            EngineRunFailed: the work cannot be recorded; the stream is usable again.
        """
        self._call("cuStreamBeginCapture_v2", self.handle, _THREAD_LOCAL)
        recorded = c_void_p()
        try:
            try:
                work()
            finally:  # also ends a recording that a forbidden call has spoilt
                self._call("cuStreamEndCapture", self.handle, ctypes.byref(recorded))
            return Graph(self.device, recorded.value or 0, self.handle)
        finally:
            if recorded.value:
                self.device.release("cuGraphDestroy", recorded)

    def close(self) -> None:
        """Free it. A second call does nothing."""
        if self.handle:
            handle, self.handle = self.handle, 0
            self.device.release("cuStreamDestroy_v2", handle)

    def _call(self, name: str, *arguments: object) -> None:
        self._check()
        self.device.call(name, *arguments)

    def _check(self) -> None:
        if not self.handle:  # 0 would be the default stream
            raise EngineRunFailed("the stream is closed; load the plan again")


class Event:
    """A place in a stream that others can wait for. `close` gives it back.

    Attributes:
        handle: its CUevent.
    """

    def __init__(self, device: Device, *, timed: bool = False) -> None:
        """Make it. `timed`: for `seconds_since`; waiting for it is then slower.

        Raises:
            EngineRunFailed: the driver refuses.
        """
        self._device = device
        handle = c_void_p()
        device.call("cuEventCreate", ctypes.byref(handle), 0 if timed else _UNTIMED)
        self.handle = handle.value or 0

    def record(self, stream: Stream) -> None:
        """Mark the end of what is in a stream now."""
        self._device.call("cuEventRecord", self.handle, stream.handle)

    def wait(self) -> None:
        """Until the stream has come here. Raises `DeviceLost` when a kernel failed."""
        self._device.call("cuEventSynchronize", self.handle)

    def is_done(self) -> bool:
        """True when the stream has come here, and for an event that was never recorded."""
        return self._device.is_done("cuEventQuery", self.handle)

    def seconds_since(self, start: Event) -> float:
        """Time on the GPU between two events that are timed and done."""
        milliseconds = c_float()
        self._device.call(
            "cuEventElapsedTime", ctypes.byref(milliseconds), start.handle, self.handle
        )
        return milliseconds.value / 1e3

    def close(self) -> None:
        """Free it. A second call does nothing."""
        if self.handle:
            handle, self.handle = self.handle, 0
            self._device.release("cuEventDestroy_v2", handle)
