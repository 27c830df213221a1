"""The pause before a process is started again, and the crashes that end the server."""

from __future__ import annotations

from collections import deque

from enginecrate.errors import ServerProcessFailed

__all__ = ["CRASHES", "CRASH_SECONDS", "Restarts"]

CRASHES = 5
CRASH_SECONDS = 60.0
"""So many crashes within this time end the server: starting again does not help."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Restarts:
    """Counts the crashes of all processes of a server."""

    def __init__(self) -> None:
        self._crashes: deque[tuple[float, str]] = deque()

    def crashed(self, name: str, reason: str, now: float) -> float:
        """Note a crash.

        Args:
            name: of the process.
            reason: how it ended, in words.
            now: seconds on a clock that never goes back.

        Returns:
            Seconds until it may be started again: 0.1, doubled with each of its recent crashes.

        Raises:
            ServerProcessFailed: there were too many.
        """
        self._crashes.append((now, name))
        while now - self._crashes[0][0] > CRASH_SECONDS:
            self._crashes.popleft()
        if len(self._crashes) >= CRASHES:
            names = ", ".join(sorted({each for _, each in self._crashes}))
            raise ServerProcessFailed(
                f"{CRASHES} crashes within {CRASH_SECONDS:.0f} seconds ({names}); the last one: "
                f"{name} {reason}; the log tells more"
            )
        own = sum(each == name for _, each in self._crashes)
        pause: float = min(_FIRST_PAUSE * 2 ** (own - 1), _LONGEST_PAUSE)
        return pause
