"""What the host's processors and memory are doing, read from Linux's `/proc`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CpuMeter", "memory_bytes"]

_PROC = Path("/proc")


class CpuMeter:
    """The share of processor time that was used since the last reading, 0 to 1."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._file = proc / "stat"
        self._last = self._read()

    def read(self) -> float:
        """The share since the last call, or since construction."""
        busy, total = self._read()
        before_busy, before_total = self._last
        self._last = busy, total
        return (busy - before_busy) / (total - before_total) if total > before_total else 0.0

    def _read(self) -> tuple[int, int]:
        """Busy and total time: proc(5), `/proc/stat`, first line; idle and iowait are not busy."""
        try:
            times = [
                int(text) for text in self._file.read_text("ascii").split("\n")[0].split()[1:9]
            ]
        except (OSError, ValueError):
            return 0, 0
        return sum(times) - sum(times[3:5]), sum(times)


def memory_bytes(proc: Path = _PROC) -> tuple[int, int]:
    """Total and used memory of the host; zeros where it cannot be read."""
    try:
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        kib = {
            name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
        }
        total, available = kib["MemTotal"], kib["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return 0, 0
    return total * 1024, (total - available) * 1024
