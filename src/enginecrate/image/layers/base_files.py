"""Files that the first start of a system would have made: users, links, folders to mount on."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.image.layers.entries import Entry, Folder, Link, RegularFile, key_of

__all__ = ["USER", "BaseFiles"]

USER = 65532
"""User and group `nonroot`."""

_PASSWD = f"""\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:{USER}:{USER}:nonroot:/nonexistent:/sbin/nologin
"""
_GROUP = f"root:x:0:\nnogroup:x:65534:\nnonroot:x:{USER}:\n"
_NSSWITCH = """\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
"""
_MERGED = ("bin", "lib", "sbin")


class BaseFiles:
    """Users, name lookup, UTC, the links of the merged `/usr`, and folders to mount on.

    lib64: true where the architecture's loader lies in `/lib64` (amd64 does, arm64 does not).
    """

    def __init__(self, *, lib64: bool) -> None:
        self._lib64 = lib64

    def __str__(self) -> str:
        return "base files"

    @property
    def key(self) -> str:
        return key_of("base 1", str(self._lib64), _PASSWD, _GROUP, _NSSWITCH)

    def entries(self) -> Iterator[Entry]:
        """Users and groups: `root`, `nobody`, `nonroot`; `/tmp` is writable for all, and sticky."""
        for name in (*_MERGED, *(["lib64"] if self._lib64 else [])):
            yield Folder(f"usr/{name}")
            yield Link(name, f"usr/{name}")
        for name in ("dev", "proc", "sys", "run", "var/log", "var/cache", "var/lib"):
            yield Folder(name)
        yield Folder("root", 0o700)
        yield Folder("tmp", 0o1777)
        yield Folder("var/tmp", 0o1777)
        yield Link("var/run", "../run")
        yield RegularFile("etc/passwd", _PASSWD.encode())
        yield RegularFile("etc/group", _GROUP.encode())
        yield RegularFile("etc/nsswitch.conf", _NSSWITCH.encode())
        yield RegularFile("etc/timezone", b"Etc/UTC\n")
        yield Link("etc/localtime", "../usr/share/zoneinfo/Etc/UTC")
