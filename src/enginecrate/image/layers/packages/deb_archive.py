"""A .deb: an `ar` archive of two compressed tars. Nothing in it is trusted.

Source: deb(5), deb-control(5); limits are ours.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from enginecrate.errors import ArchiveUnsafe, MissingExtra
from enginecrate.image.layers.entries import PIECE
from enginecrate.image.layers.temporary_files import NamelessFile, Part

__all__ = ["DebArchive"]

_LIMIT = 4 << 30
_CONTROL_LIMIT = 64 << 20
_MEMBERS = 16
_HEADER = 60
_XZ_MEMORY = 256 << 20


class DebArchive:
    """A .deb file. `control`: its control files (`control`, `md5sums`, ...) by name."""

    def __init__(self, path: Path) -> None:
        """Raises `ArchiveUnsafe`: this is not a sound .deb. `OSError`: it cannot be read."""
        self._path = path
        self._lock = threading.Lock()
        self._files: dict[str, NamelessFile] = {}
        self._members = dict(self._read_members())
        if {"control", "data"} - self._members.keys():
            raise self._broken("it lacks control.tar or data.tar")

    def control(self) -> dict[str, bytes]:
        """The small files that describe the package."""
        return {
            info.name.removeprefix("./"): part.read()
            for info, part in self._tar("control", _CONTROL_LIMIT)
            if info.isreg()
        }

    def data(self) -> Iterator[tuple[tarfile.TarInfo, Part]]:
        """Every member of data.tar with its bytes, in the order of the archive."""
        yield from self._tar("data", _LIMIT)

    def _file(self, member: str, limit: int) -> NamelessFile:
        """A tar, decompressed to the disk; once, since a package's files are asked for often."""
        name, offset, size = self._members[member]
        with self._lock:
            if member not in self._files:
                file = NamelessFile()
                with self._path.open("rb") as raw:
                    raw.seek(offset)
                    file.fill(self._unpacked(raw, name, size), limit, f"{self._path.name}: {name}")
                self._files[member] = file
            return self._files[member]

    def _read_members(self) -> Iterator[tuple[str, tuple[str, int, int]]]:
        """`control` and `data`: (name, offset, size)."""
        with self._path.open("rb") as file:
            if file.read(8) != b"!<arch>\n":
                raise self._broken("it is not an ar archive")
            end = file.seek(0, io.SEEK_END)
            position = 8
            for _ in range(_MEMBERS):
                file.seek(position)
                header = file.read(_HEADER)
                if not header:
                    return
                name, size = self._parse(header)
                position += _HEADER
                if size > end - position:
                    raise self._broken(f"{name} is cut short")
                yield name.partition(".")[0], (name, position, size)
                position += size + size % 2
        raise self._broken(f"it has more than {_MEMBERS} members")

    def _parse(self, header: bytes) -> tuple[str, int]:
        if len(header) != _HEADER or header[58:] != b"`\n":
            raise self._broken("a header of the ar archive is damaged")
        try:
            return header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        except ValueError as exc:
            raise self._broken("a header of the ar archive is damaged") from exc

    def _tar(self, member: str, limit: int) -> Iterator[tuple[tarfile.TarInfo, Part]]:
        try:
            file = self._file(member, limit)
            with tarfile.open(fileobj=_Reader(file), mode="r:") as tar:
                for info in tar:
                    if info.issparse():
                        raise self._broken(f"{info.name} is a sparse file")
                    yield info, Part(file, info.offset_data, info.size)
        except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as exc:
            raise self._broken(f"{member}: {exc}") from exc

    def _unpacked(self, raw: IO[bytes], name: str, size: int) -> Iterator[bytes]:
        packed = _Window(raw, size)
        match name.partition(".tar")[2]:
            case "":
                reader: Any = packed
            case ".gz":
                reader = gzip.GzipFile(fileobj=packed)
            case ".xz":
                reader = None
            case ".zst":
                reader = _zstd_reader(packed)
            case other:
                raise self._broken(f"data compressed as {other!r}, which is not supported")
        if reader is None:
            yield from _xz(packed)
            return
        try:
            while piece := reader.read(PIECE):
                yield piece
        except _zstd_error() as exc:
            raise self._broken(f"{name}: {exc}") from exc

    def _broken(self, what: str) -> ArchiveUnsafe:
        return ArchiveUnsafe(
            f"{self._path.name} is not a sound Debian package: {what}; get it again, or lock "
            "another version"
        )


class _Window(io.RawIOBase):
    """The next `size` bytes of a file, as a file."""

    def __init__(self, raw: IO[bytes], size: int) -> None:
        self._raw, self._left = raw, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Reader(io.RawIOBase):
    """A `NamelessFile` as a file for `tarfile`."""

    def __init__(self, file: NamelessFile) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _xz(packed: _Window) -> Iterator[bytes]:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    while not decompressor.eof:
        data = packed.read(PIECE) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise EOFError("it is cut short")
        if piece := decompressor.decompress(data or b"", PIECE):
            yield piece


def _zstd_reader(packed: Any) -> Any:
    try:
        import zstandard
    except ImportError as exc:
        raise MissingExtra("zstandard", extra="image") from exc
    return zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)


def _zstd_error() -> type[Exception]:
    try:
        import zstandard
    except ImportError:
        return lzma.LZMAError
    return zstandard.ZstdError
