"""The number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cores"]

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1 = Path("/sys/fs/cgroup/cpu")


def available_cores(v2: Path = _V2, v1: Path = _V1) -> int:
    """Cores by affinity, capped by the container's CPU quota; at least 1.

    A container with `--cpus=2` on a large host still sees all of the host's cores, and an engine
    with a thread for each of them is throttled badly.

    Args:
        v2: the quota file of control groups version 2 (Linux documentation, "cgroup-v2", cpu.max).
        v1: the folder of version 1 (`cpu.cfs_quota_us`, `cpu.cfs_period_us`).
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota_v2(v2) or _quota_v1(v1)
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _quota_v2(file: Path) -> float:
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # absent, or "max": no quota
        return 0.0


def _quota_v1(folder: Path) -> float:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return max(0.0, quota / period)  # -1: no quota
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
