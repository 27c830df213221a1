"""A lock for recordings: one at a time, and no other work of CUDA beside it.

While a thread records a CUDA graph in the mode that onnxruntime uses
(`cudaStreamCaptureModeGlobal`), calls of any other thread that may allocate or wait for the device
fail with "operation not permitted when stream is capturing", and spoil the recording (CUDA runtime
API, section "Stream Management", `cudaThreadExchangeStreamCaptureMode`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["GPU_WORK", "CaptureLock"]


class CaptureLock:
    """Many may work at once, or one may record. Who wants to record goes before new work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._waiting = 0
        self._recording = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work that is no recording."""
        with self._changed:
            self._changed.wait_for(lambda: not self._recording and not self._waiting)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A recording: waits for the end of all other work."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._recording and not self._working)
                self._recording = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._recording = False
                self._changed.notify_all()


GPU_WORK = CaptureLock()
"""The lock of this process: CUDA's rule is about all of its threads, whatever GPU they use."""
