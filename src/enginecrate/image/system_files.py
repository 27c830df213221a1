"""The few files of an image that come from no package: its user, its folders, its name services."""

from __future__ import annotations

from enginecrate.image.config import CACHE, GROUP, ROOT, USER
from enginecrate.image.layers.entries import Entry, Folder, RegularFile

__all__ = ["system_files"]

_PASSWD = (
    "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    f"nonroot:x:{USER}:{GROUP}:nonroot:{CACHE}:/usr/sbin/nologin\n"
)
_GROUP = f"root:x:0:\nnogroup:x:65534:\nnonroot:x:{GROUP}:\n"
_NSSWITCH = (
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
    "networks: files\nprotocols: files\nservices: files\n"
)


def system_files() -> tuple[Entry, ...]:
    """Accounts, and the folders that containers write to or mount.

    The cache belongs to our user, so that a new volume does, too. /tmp is for everybody, with the
    sticky bit, as everywhere.
    """
    return (
        RegularFile("etc/passwd", _PASSWD.encode()),
        RegularFile("etc/group", _GROUP.encode()),
        RegularFile("etc/nsswitch.conf", _NSSWITCH.encode()),
        Folder("etc/enginecrate"),
        Folder("run"),
        Folder("tmp", 0o1777),
        Folder(CACHE.lstrip("/"), owner=USER),
        Folder("var/log/enginecrate", owner=USER),
        Folder("var/tmp", 0o1777),
        Folder(ROOT.lstrip("/")),
    )
