"""A wheel as installed without pip: every file is checked against its RECORD, some stay out.

Source: the binary distribution format (PEP 427), and "Recording installed projects" (PEP 376, 627).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enginecrate.errors import ArtifactChanged
from enginecrate.image.layers.entries import Entry, RegularFile, key_of
from enginecrate.image.layers.packages.exclusions import ExclusionRules, default_exclusions
from enginecrate.image.layers.packages.record import SITE, record_of
from enginecrate.image.layers.packages.wheel_archive import WheelArchive
from enginecrate.stacks.lock import LockedWheel
from enginecrate.values import Digest, canonical_name

__all__ = ["WheelContents"]

_PREFIX = "opt/enginecrate"

_SCHEMES = {"purelib": f"{SITE}/", "platlib": f"{SITE}/", "data": f"{_PREFIX}/"}


class WheelContents:
    """A wheel's files at `SITE`. Scripts and headers are left out: nothing in an image calls them.

    The `RECORD` that is installed lists the files that are there.
    """

    def __init__(
        self, path: Path, locked: LockedWheel, rules: ExclusionRules | None = None
    ) -> None:
        self.path, self.locked = path, locked
        self._rules = rules or default_exclusions()

    def __str__(self) -> str:
        return f"{self.locked.name} {self.locked.version}"

    @property
    def key(self) -> str:
        return key_of("wheel 1", self.locked.sha256, self.locked.name, self._rules.key)

    def entries(self) -> Iterator[Entry]:
        """Raises `ArchiveUnsafe`, `ArtifactChanged`, `OSError`."""
        if Digest.of_file(self.path).hex != self.locked.sha256.removeprefix("sha256:"):
            raise ArtifactChanged(
                f"{self.path.name} is not the file that was locked for {self} (sha256 "
                f"{self.locked.sha256}); remove it, and get it again"
            )
        archive = WheelArchive(self.path, self.locked.name, self.locked.version)
        recorded: list[tuple[str, str, int]] = []
        for name, member, mode in archive.files():
            if not (path := self._path_in_image(name, archive.data_folder)):
                continue
            yield RegularFile(path, member, mode)
            recorded.append((_relative(path), member.sha256, member.size))
        info = archive.info_folder
        installer = RegularFile(f"{SITE}/{info}/INSTALLER", b"enginecrate\n")
        yield installer
        yield record_of(info, recorded, [installer])

    def left_out(self) -> Iterator[tuple[str, int, str]]:
        """Path in the wheel, size in bytes, and reason of what the rules leave out."""
        archive = WheelArchive(self.path, self.locked.name, self.locked.version)
        for name, member, _ in archive.files():
            if reason := self._rules.reason("wheel", canonical_name(self.locked.name), name):
                yield name, member.size, reason

    def _path_in_image(self, name: str, data_folder: str) -> str:
        """The path of an archive's file in the image; empty when it is left out."""
        base, inside = f"{SITE}/", name
        if name.startswith(f"{data_folder}/"):
            scheme, _, inside = name.removeprefix(f"{data_folder}/").partition("/")
            base = _SCHEMES.get(scheme, "")
        skipped = self._rules.reason("wheel", canonical_name(self.locked.name), inside)
        return "" if skipped or not base else base + inside


def _relative(path: str) -> str:
    """The path as a RECORD names it: from site-packages."""
    inside = path.removeprefix(f"{SITE}/")
    return inside if inside != path else f"../{path.removeprefix(f'{_PREFIX}/')}"
