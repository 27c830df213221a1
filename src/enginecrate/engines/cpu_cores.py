"""The number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cores"]


def available_cores(root: Path = Path("/")) -> int:
    """Cores by affinity, capped by the least CPU quota that counts here; at least 1.

    A container with `--cpus=2` on a large host still sees all of the host's cores, and an engine
    with a thread for each of them is throttled badly. The quota of any control group above
    this process counts as well: of a service, a pod, a slice.

    Args:
        root: the folder that has `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0))
    quotas = [quota for folder in _control_groups(root) for quota in _quotas(folder) if quota > 0]
    return max(1, min(cores, math.ceil(min(quotas)))) if quotas else cores


def _control_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups of this process, from its own up to the root's.

    /proc/self/cgroup (cgroups(7)) names the group below each hierarchy's mount: of version 2, and
    of the hierarchy of version 1 that has the controller `cpu`. In a namespace of its own a group
    is `/`; where the mount shows the group's own folder only, the path is not there.
    """
    mounts = root / "sys/fs/cgroup"
    for controllers, group in _memberships(root):
        for mount in _mounts(mounts, controllers):
            path = PurePosixPath(group.lstrip("/"))
            if ".." in path.parts:  # the group is outside of this namespace
                path = PurePosixPath()
            yield from (mount / folder for folder in (path, *path.parents))


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Controllers (none: version 2) and path of each group that may have a quota."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            yield controllers, group
    if not lines:
        yield from (("", "/"), ("cpu", "/"))


def _mounts(mounts: Path, controllers: str) -> Iterator[Path]:
    if controllers == "":
        yield from (mounts, mounts / "unified")  # the second: hybrid
    else:
        yield from (mounts / name for name in dict.fromkeys((controllers, "cpu", "cpu,cpuacct")))


def _quotas(folder: Path) -> Iterator[float]:
    """Quotas in a group's folder in cores, of version 2 and 1; not above 0: none."""
    yield _fraction(_words(folder / "cpu.max"))
    yield _fraction(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except (OSError, ValueError):
        return []


def _fraction(words: list[str]) -> float:
    try:
        quota, period = map(int, words)
        return quota / period
    except (ValueError, ZeroDivisionError):  # absent, "max" or -1
        return 0.0
