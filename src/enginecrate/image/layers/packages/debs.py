"""The files of a Debian package, without those that an image must not or need not hold."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from enginecrate.errors import ArchiveUnsafe, ArtifactChanged
from enginecrate.image.layers.entries import Entry, Folder, Link, RegularFile, key_of
from enginecrate.image.layers.packages.deb_archive import DebArchive
from enginecrate.image.layers.packages.exclusions import ExclusionRules, default_exclusions
from enginecrate.image.layers.safe_paths import link_target, merged_usr, safe_path
from enginecrate.image.layers.temporary_files import Part
from enginecrate.stacks.lock import LockedDeb
from enginecrate.values import Digest

__all__ = ["DebContents"]


class DebContents:
    """A .deb, unpacked without dpkg: no script of the package runs.

    Every path is the one after Debian's merge of `/usr`. Modes become 0755 or 0644; owners
    become root.
    """

    def __init__(self, path: Path, locked: LockedDeb, rules: ExclusionRules | None = None) -> None:
        self.path, self.locked = path, locked
        self._rules = rules or default_exclusions()

    def __str__(self) -> str:
        return f"{self.locked.name} {self.locked.version}"

    @property
    def key(self) -> str:
        return key_of("deb 1", self.locked.sha256, self.locked.name, self._rules.key)

    @cached_property
    def control(self) -> dict[str, bytes]:
        """The package's control files by name. Raises `ArchiveUnsafe`, `ArtifactChanged`."""
        return self._archive.control()

    def entries(self) -> Iterator[Entry]:
        """Raises `ArchiveUnsafe`, `ArtifactChanged`, `OSError`."""
        parts: dict[str, RegularFile] = {}
        for info, part in self._archive.data():
            raw = safe_path(info.name, str(self))
            path = merged_usr(raw)
            if not path or (info.issym() and path.count("/") == 1 and path == f"usr/{raw}"):
                continue  # the root; newer packages bring `lib -> usr/lib`, which the base has
            entry = self._entry(info, part, path, parts)
            if isinstance(entry, RegularFile):
                parts[path] = entry
            if not self.left_out(path):
                yield entry

    def file(self, path: str) -> bytes:
        """One small file of the package, also one that is left out. Raises `ArchiveUnsafe`."""
        for _, data in self.files(path):
            return data
        raise ArchiveUnsafe(f"{self} has no {path}; lock a version of it that has")

    def files(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Paths and bytes of all files below a path, also of those that are left out."""
        for info, part in self._archive.data():
            path = merged_usr(safe_path(info.name, str(self)))
            if info.isreg() and (path == prefix or path.startswith(prefix.rstrip("/") + "/")):
                yield path, part.read()

    def left_out(self, path: str) -> str:
        """The reason for which a path of the image is left out; empty when it is there."""
        return self._rules.reason("deb", self.locked.name, path)

    @cached_property
    def _archive(self) -> DebArchive:
        if Digest.of_file(self.path).hex != self.locked.sha256.removeprefix("sha256:"):
            raise ArtifactChanged(
                f"{self.path.name} is not the file that was locked for {self} (sha256 "
                f"{self.locked.sha256}); remove it, and get it again"
            )
        return DebArchive(self.path)

    def _entry(
        self, info: tarfile.TarInfo, part: Part, path: str, parts: dict[str, RegularFile]
    ) -> Entry:
        mode = 0o755 if info.mode & 0o100 else 0o644
        if info.isdir():
            return Folder(path)
        if info.issym():
            return Link(path, link_target(path, info.linkname, str(self), merge=True))
        if info.isreg():
            small = info.size <= 4096
            return RegularFile(path, part.read() if small else part, mode)
        target = merged_usr(safe_path(info.linkname, str(self))) if info.islnk() else ""
        if target in parts:
            return RegularFile(path, parts[target].content, parts[target].mode)
        raise ArchiveUnsafe(
            f"{self} holds {info.name!r}, a device, a pipe or a link to nothing; no image may hold "
            "it: lock another version"
        )
