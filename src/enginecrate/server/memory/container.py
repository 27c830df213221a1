"""The memory that this process and its children may take together: cgroups(7), proc(5)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["memory_limit"]

_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""The limit of a control group: of version 2, and of the hierarchy of version 1 for memory."""


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes of the machine, or of the container or the service, when that is less.

    Args:
        root: the folder that has `proc` and `sys`.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder, name in _groups(root):
        # "max", or a file that is not there, means: no limit.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((folder / name).read_text("ascii")))
    return min(limits)


def _groups(root: Path) -> Iterator[tuple[Path, str]]:
    """Folders of this process's control groups, up to the root's, and their files of the limit."""
    mounts = root / "sys/fs/cgroup"
    lines = ["::/", ":memory:/"]
    with contextlib.suppress(OSError):
        lines += (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        kind = "memory" if "memory" in controllers.split(",") else controllers
        if kind not in _FILES:
            continue
        path = PurePosixPath(group.lstrip("/"))
        if ".." in path.parts:  # the group is outside of this namespace
            path = PurePosixPath()
        for folder in (path, *path.parents):
            yield mounts / kind / folder, _FILES[kind]
