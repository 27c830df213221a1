"""A wheel: a zip archive whose RECORD names every file. Nothing in it is trusted.

Source: the binary distribution format (PEP 427); limits are ours.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from enginecrate.errors import ArchiveUnsafe
from enginecrate.image.layers.entries import PIECE
from enginecrate.image.layers.packages.record import parse_record, sha256_text
from enginecrate.image.layers.safe_paths import safe_path
from enginecrate.values import canonical_name

__all__ = ["WheelArchive"]

_LIMIT = 16 << 30
_FREE = 64 << 20
_RATIO = 100
_SMALL = 16 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
"""Errors of `zipfile` for damaged members, and for unknown ways to compress."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file of a wheel, as the content of an entry. `sha256`: as RECORD writes it."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    sha256: str

    @property
    def size(self) -> int:
        return self.info.file_size

    def pieces(self) -> Iterator[bytes]:
        """Raises `ArchiveUnsafe`: the bytes are not those of RECORD."""
        hasher = hashlib.sha256()
        try:
            with self.archive.open(self.info) as file:
                while piece := file.read(PIECE):
                    hasher.update(piece)
                    yield piece
        except _DAMAGED as exc:
            raise self._broken(str(exc)) from exc
        if sha256_text(hasher.digest()) != self.sha256:
            raise self._broken("its bytes are not those that RECORD lists")

    def _broken(self, what: str) -> ArchiveUnsafe:
        return ArchiveUnsafe(
            f"{self.archive.filename}: {self.info.filename}: {what}; get the wheel again, or lock "
            "another version"
        )


class WheelArchive:
    """A wheel of the given name and version. `info_folder`, `data_folder`: as it names them."""

    def __init__(self, path: Path, name: str, version: str) -> None:
        """Raises `ArchiveUnsafe`: it is not a sound wheel, or one of another package."""
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as exc:
            raise self._broken(str(exc)) from exc
        self._infos = self._checked_infos()
        self.info_folder = self._find_info_folder()
        self.data_folder = self.info_folder.removesuffix(".dist-info") + ".data"
        self._check_metadata(name, version)
        self._record = self._read_record()

    def files(self) -> Iterator[tuple[str, ZipMember, int]]:
        """Name, bytes and mode of every file but RECORD, in the order of their names."""
        signatures = {f"{self.info_folder}/RECORD{end}" for end in ("", ".jws", ".p7s")}
        for name in sorted(self._infos.keys() - signatures, key=str.encode):
            info = self._infos[name]
            if not self._record.get(name, "").startswith("sha256="):
                raise self._broken(f"RECORD has no sha256 for {name}")
            executable = (info.external_attr >> 16) & 0o100
            member = ZipMember(self._zip, info, self._record[name].rstrip("="))
            yield name, member, 0o755 if executable else 0o644

    def _checked_infos(self) -> dict[str, zipfile.ZipInfo]:
        infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = safe_path(info.filename, self._path.name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
                raise self._broken(f"{name} is a link, a device or encrypted")
            if info.is_dir():
                continue
            if name in infos:
                raise self._broken(f"{name} is there twice")
            infos[name] = info
        unpacked = sum(info.file_size for info in infos.values())
        packed = self._path.stat().st_size
        if unpacked > min(_LIMIT, _FREE + _RATIO * packed):
            raise self._broken(f"it would unpack from {packed} to {unpacked} bytes")
        return infos

    def _find_info_folder(self) -> str:
        tops = {name.partition("/")[0] for name in self._infos}
        folders = [top for top in tops if top.endswith(".dist-info")]
        if len(folders) != 1:
            raise self._broken("it does not have exactly one .dist-info folder")
        return folders[0]

    def _check_metadata(self, name: str, version: str) -> None:
        parser = BytesHeaderParser()
        metadata = parser.parsebytes(self._small(f"{self.info_folder}/METADATA"))
        wheel = parser.parsebytes(self._small(f"{self.info_folder}/WHEEL"))
        if not str(wheel.get("Wheel-Version", "")).startswith("1."):
            raise self._broken("its format is not version 1")
        have = str(metadata.get("Name", "")), str(metadata.get("Version", ""))
        if canonical_name(have[0]) != canonical_name(name) or have[1] != version:
            raise self._broken(f"it is {' '.join(have)}, and {name} {version} was locked")

    def _read_record(self) -> dict[str, str]:
        try:
            return parse_record(self._small(f"{self.info_folder}/RECORD"))
        except ValueError as exc:
            raise self._broken(f"its RECORD is damaged: {exc}") from exc

    def _small(self, name: str) -> bytes:
        info = self._infos.get(name)
        if info is None or info.file_size > _SMALL:
            raise self._broken(f"{name} is missing, or too large")
        try:
            return self._zip.read(info)
        except _DAMAGED as exc:
            raise self._broken(f"{name}: {exc}") from exc

    def _broken(self, what: str) -> ArchiveUnsafe:
        return ArchiveUnsafe(
            f"{self._path.name} is not a sound wheel: {what}; get it again, or lock another version"
        )
