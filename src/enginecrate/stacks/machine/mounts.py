"""Mounts: the file system of a folder, and the reasons for which it is lost with a container.

Source: proc(5), "/proc/[pid]/mountinfo".
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mount", "find_mount", "host_path", "why_not_persistent"]

_MOUNTINFO = Path("/proc/self/mountinfo")
_IN_MEMORY = ("ramfs", "tmpfs")
_ANONYMOUS = re.compile(r"/volumes/[0-9a-f]{64}(/_data)?$")
"""The name that Docker and Podman give to an unnamed volume; `--rm` removes it."""
_EMPTY_DIR = "/kubernetes.io~empty-dir/"
_ENGINES = re.compile(
    r"/var/lib/(docker|containers)/.+|/home/[^/]+/\.local/share/(docker|containers)/.+"
)
"""Folders on the host where Docker and Podman keep a container's files."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount.

    root: which folder of its file system is mounted at `point`. kind, device: of the file system.
    """

    point: Path
    root: str
    kind: str
    device: str = ""


def find_mount(path: Path, mountinfo: Path = _MOUNTINFO) -> Mount | None:
    """The mount that a path lies on; the path need not exist. `None` where nothing can be read."""
    real = Path(os.path.realpath(path))
    mounts = [mount for mount in _mounts(mountinfo) if real.is_relative_to(mount.point)]
    # The last of several mounts at one path hides the others.
    return max(reversed(mounts), key=lambda mount: len(mount.point.parts), default=None)


def host_path(mount: Mount, mountinfo: Path = _MOUNTINFO) -> str:
    """The path of a container's mount on the host; empty where that is not certain.

    A mount's root is a path inside of its file system, and the host may have that one anywhere: a
    disk at `/data` gives `/photos` for `/data/photos`. It is the host's own path when the engine's
    files lie on the same file system, at the path that they have on the host.
    """
    beside = (each.root for each in _mounts(mountinfo) if each.device == mount.device)
    return mount.root if any(map(_ENGINES.fullmatch, beside)) else ""


def why_not_persistent(folder: Path, *, inside: bool, mountinfo: Path = _MOUNTINFO) -> str:
    """The reason for which a folder's files would be lost; empty when they stay.

    Args:
        folder: need not exist.
        inside: whether this process runs in a container; else only writing is tried.
        mountinfo: Linux's file of that name.
    """
    refused = _why_not_writable(folder)
    if refused or not inside:
        return refused
    mount = find_mount(folder, mountinfo)
    if mount is None or mount.point == Path("/"):
        return f"{folder} is a part of the container, and is gone with it"
    if mount.kind in _IN_MEMORY:
        return f"{folder} is in memory ({mount.kind}), and is gone with the container"
    if _ANONYMOUS.search(mount.root):
        return f"{folder} is a volume without a name, which the next container does not get"
    if _EMPTY_DIR in mount.root:
        return f"{folder} is an emptyDir, which is gone with its pod"
    return ""


def _why_not_writable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as exc:
        return (
            f"{folder} cannot be written by user {os.geteuid()} "
            f"({exc.strerror or 'no file can be created'})"
        )


def _mounts(mountinfo: Path) -> list[Mount]:
    """All of them; none where nothing can be read."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [mount for mount in map(_parse, lines) if mount]


def _parse(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 5:
        return None
    point, root = Path(_unescape(fields[4])), _unescape(fields[3])
    return Mount(point, root, after.split(" ")[0], fields[2])


def _unescape(text: str) -> str:
    """Spaces, tabs, newlines and backslashes stand as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
