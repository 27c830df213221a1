"""A timer of the kernel with nanoseconds: the event loop's own is coarse to a millisecond.

Source: timerfd_create(2). Python has it from 3.13 on; here it is called by ctypes.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["Timer"]

_CLOCK_MONOTONIC = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


class _Spec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Timer:
    """A file descriptor that becomes readable at a moment of the monotonic clock."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = library.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._set = library.timerfd_settime
        self._spec = _Spec()
        self._pointer = ctypes.byref(self._spec)

    def set(self, at_ns: int) -> None:
        """Let it expire then; at once when that is over."""
        self._spec.seconds, self._spec.ns = divmod(max(at_ns, 1), 1_000_000_000)
        self._set(self.descriptor, _ABSOLUTE, self._pointer, None)

    def take(self) -> None:
        """Read the expiry, so that the descriptor is quiet again."""
        try:
            os.read(self.descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
