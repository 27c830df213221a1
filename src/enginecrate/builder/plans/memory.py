"""The memory that is free, and the memory that a build takes. Linux: proc(5), cgroups(7)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["free_bytes", "session_bytes"]

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_FILES = (
    # version 2, then version 1: limit, use, and which part of the use are files read long ago
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat",
     "total_inactive_file"),
)  # fmt: skip
_SESSION_FIELD = 5
"""Index of the field in /proc/PID/stat, counted from 0."""


def free_bytes(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int:
    """Memory that may still be taken, of the machine or of the container; 0: unknown."""
    free = [room for room in (_machine(proc), _container(cgroup)) if room is not None]
    return max(0, min(free, default=0))


def session_bytes(leader: int, proc: Path = _PROC) -> int:
    """Memory of all processes in a session, without what they share with files.

    Address space would be no measure: CUDA reserves far more of it than it uses.

    Args:
        leader: process id of the session's first process.
        proc: Linux's folder of that name.
    """
    return sum(_private(folder) for folder in proc.glob("[0-9]*") if _session(folder) == leader)


def _machine(proc: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container(cgroup: Path) -> int | None:
    for limit, use, statistics, name in _CGROUP_FILES:
        with contextlib.suppress(OSError, ValueError, KeyError):  # "max": no limit
            room = int((cgroup / limit).read_text("ascii"))
            used = int((cgroup / use).read_text("ascii"))
            lines = (cgroup / statistics).read_text("ascii").splitlines()
            return room - used + int(dict(line.split() for line in lines)[name])
    return None


def _session(folder: Path) -> int:
    try:
        text = (folder / "stat").read_text("utf-8", errors="replace")
        # The second field is a program's name in brackets, which may hold spaces and brackets.
        return int(text[text.rindex(")") + 1 :].split()[_SESSION_FIELD - 2])
    except (OSError, ValueError, IndexError):  # it has ended
        return -1


def _private(folder: Path) -> int:
    try:
        _, resident, shared, *_ = (folder / "statm").read_text("ascii").split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
