"""A reader of tars that may be hostile: as a stream, with limits, without touching the disk.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual,
"Basic Tar Format". Where writers disagree it follows the reader of container runtimes: entries that
are not files have no data, and global headers are ignored.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import BinaryIO, Literal
from urllib.parse import unquote

from enginecrate.errors import ArchiveUnsafe, ImageInvalid

__all__ = ["Limits", "TarEntry", "TarReader", "refuse_entries"]

Kind = Literal["file", "folder", "symlink", "hardlink", "device", "pipe"]

_BLOCK = 512
_PIECE = 1 << 20
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_PATHS = ("path", "GNU.sparse.name")
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "pipe",
}
_XATTR = "SCHILY.xattr."
_XATTR_BASE64 = "LIBARCHIVE.xattr."
"""The form of libarchive (bsdtar): names as in addresses, values in base64."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits beyond which an image counts as an attack.

    entries: in all layers together; one takes about 400 bytes of memory.
    text_bytes: of all names, link targets and extended attributes together.
    unpacked_bytes: of all layers together.
    ratio: a layer's size by its compressed size, once it is over `ratio_from` bytes.
    header_bytes: of one extended header. path_bytes, depth: of one path.
    """

    entries: int = 1_000_000
    text_bytes: int = 256 << 20
    unpacked_bytes: int = 64 << 30
    ratio: int = 200
    ratio_from: int = 1 << 30
    header_bytes: int = 1 << 20
    path_bytes: int = 4096
    depth: int = 256


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One entry. `target`: of a link; `xattrs`: extended attributes by name.

    sparse: its data is a map of holes and what is between them, as the tar stores it.
    """

    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    target: str = ""
    sparse: bool = False
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)


@dataclass(slots=True)
class _Extension:
    """The values of extended headers, for the entry that follows them."""

    pax: dict[str, bytes] = field(default_factory=dict)
    name: bytes | None = None
    target: bytes | None = None
    kinds: set[bytes] = field(default_factory=set)

    @property
    def is_named_twice(self) -> bool:
        """True if pax and GNU each give the same of its names."""
        return (self.name is not None and not self.pax.keys().isdisjoint(_PATHS)) or (
            self.target is not None and "linkpath" in self.pax
        )


class TarReader:
    """Entries in their order; `read` gives the data of the entry that came last."""

    def __init__(
        self, source: BinaryIO, where: str, *, limits: Limits, most_bytes: int, most_entries: int
    ) -> None:
        """Reads `source` from its start.

        Args:
            source: the uncompressed tar.
            where: for messages: `layer 3`.
            limits: for one header and one path.
            most_bytes: of the whole tar.
            most_entries: headers in it.
        """
        self._source, self._where, self._limits = source, where, limits
        self._bytes_left, self._entries_left = most_bytes, most_entries
        self._data = self._padding = 0
        self._most_bytes = most_bytes
        self.headers = 0

    @classmethod
    def of_file(cls, file: BinaryIO, where: str, most_entries: int) -> TarReader:
        """A reader of a tar that lies on the disk, for its headers: `skip` the data."""
        size = os.fstat(file.fileno()).st_size
        return cls(
            file,
            where,
            limits=Limits(entries=most_entries),
            most_bytes=size + _PIECE,  # a read beyond the end finds it cut short, and no bomb
            most_entries=most_entries,
        )

    @property
    def unpacked(self) -> int:
        """Bytes of the tar that were read so far."""
        return self._most_bytes - self._bytes_left

    def __iter__(self) -> Iterator[TarEntry]:
        """Raises `ImageInvalid` (no tar, or it ends early) and `ArchiveUnsafe` (over a limit)."""
        extension = _Extension()
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in b"xgLK":
                self._extend(extension, kind, self._body(header))
                continue
            entry = self._entry(header, extension)
            extension = _Extension()
            yield entry

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes of the entry's data (all that is left, when negative)."""
        size = self._data if size < 0 else min(size, self._data)
        self._data -= size
        return self._exactly(size)

    def skip(self) -> None:
        """Pass over the entry's data in a source that can seek."""
        self._source.seek(self._data, os.SEEK_CUR)
        self._bytes_left -= self._data
        self._data = 0

    def _header(self) -> bytes | None:
        """The next header; None at the end of the archive."""
        while self._data:
            self.read(_PIECE)
        self._exactly(self._padding)
        self._padding = 0
        # Without its last block of zeros an archive was cut off: zstd does not always notice.
        block = self._exactly(_BLOCK)
        if not block.strip(b"\0"):
            return None
        self.headers += 1
        if self.headers > self._entries_left:
            raise refuse_entries(self._where, self._limits)
        if sum(block) - sum(block[148:156]) + 8 * 32 != self._number(block[148:156]):
            raise self._wrong("a header's checksum does not match")
        return block

    def _entry(self, header: bytes, extension: _Extension) -> TarEntry:
        pax = extension.pax
        kind = _KINDS.get(header[156:157])
        name = _first(pax.get("GNU.sparse.name"), pax.get("path"), extension.name, _name(header))
        if kind is None:
            raise self._wrong(f"{_text(name)!r} is of the unknown type {header[156:157]!r}")
        if kind == "file" and header[156:157] != b"S" and name.endswith(b"/"):
            kind = "folder"
        stored = self._pax_number(pax, "size", header[124:136]) if kind == "file" else 0
        if header[156:157] == b"S":
            self._skip_sparse_map(header)
        self._data, self._padding = stored, -stored % _BLOCK
        target = _first(pax.get("linkpath"), extension.target, _until_nul(header[157:257]))
        return TarEntry(
            name=self._path(name),
            kind=kind,
            mode=self._number(header[100:108]) & 0o7777,
            uid=self._pax_number(pax, "uid", header[108:116]),
            gid=self._pax_number(pax, "gid", header[116:124]),
            size=stored,
            sparse=header[156:157] == b"S" or any(key.startswith("GNU.sparse.") for key in pax),
            target=self._path(target) if kind in ("symlink", "hardlink") else "",
            xattrs=_xattrs(pax),
        )

    def _extend(self, extension: _Extension, kind: bytes, body: bytes) -> None:
        is_double = kind in extension.kinds
        extension.kinds |= {kind} - {b"g"}
        if kind == b"x":
            extension.pax.update(self._records(body))
        elif kind == b"L":
            extension.name = _until_nul(body)
        elif kind == b"K":
            extension.target = _until_nul(body)
        if is_double or extension.is_named_twice:
            raise ArchiveUnsafe(
                f"{self._where} has two extended headers for one entry; programs differ in which "
                "one counts"
            )

    def _body(self, header: bytes) -> bytes:
        """The data of an extended header."""
        size = self._number(header[124:136])
        if size > self._limits.header_bytes:
            raise ArchiveUnsafe(
                f"{self._where} has a header of {size:,} bytes; "
                f"at most {self._limits.header_bytes:,} are read"
            )
        body = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return body

    def _records(self, body: bytes) -> Iterator[tuple[str, bytes]]:
        """Records of pax: `LENGTH KEY=VALUE` and a newline, where LENGTH counts all of it."""
        start = 0
        while start < len(body) and body[start]:
            space = body.find(b" ", start, start + 20)
            digits = body[start:space] if space > 0 else b""
            end = start + int(digits) if digits.isdigit() else start
            key, equals, value = body[space + 1 : end].partition(b"=")
            if not equals or end > len(body) or value[-1:] != b"\n":
                raise self._wrong("an extended header cannot be understood")
            yield _text(key), value[:-1]
            start = end

    def _skip_sparse_map(self, header: bytes) -> None:
        """Old GNU sparse files: more blocks of the map may stand before the data."""
        more = header[482]
        while more:
            more = self._exactly(_BLOCK)[504]

    def _path(self, name: bytes) -> str:
        if len(name) > self._limits.path_bytes or name.count(b"/") > self._limits.depth:
            raise ArchiveUnsafe(
                f"{self._where} has a path of {len(name):,} bytes: {name[:80]!r}..."
            )
        if b"\0" in name:
            raise ArchiveUnsafe(f"{self._where} has a path with a zero byte: {name[:80]!r}")
        return _text(name)

    def _pax_number(self, pax: Mapping[str, bytes], key: str, header: bytes) -> int:
        value = pax.get(key)
        if value is None:
            return self._number(header)
        if not value.isdigit() or len(value) > 19:
            raise self._wrong(f"{key}={value[:40]!r} is not a number")
        return int(value)

    def _number(self, digits: bytes) -> int:
        """Octal digits, or GNU's base 256 for large ones."""
        if digits[0] & 0x80:
            if digits[0] & 0x40:
                raise self._wrong("a number is negative")
            return int.from_bytes(bytes((digits[0] & 0x7F, *digits[1:])))
        octal = digits.strip(b" \0")
        try:
            return int(octal.split(b"\0")[0] or b"0", 8)
        except ValueError as exc:
            raise self._wrong(f"{octal!r} is not an octal number") from exc

    def _exactly(self, size: int) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise self._early()
        return data

    def _take(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end of the stream."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ArchiveUnsafe(
                f"{self._where} unpacks to much more than its compressed size, or more than "
                f"{self._limits.unpacked_bytes:,} bytes: it looks like a decompression bomb"
            )
        # The source may give less than what was asked for before its end.
        parts: list[bytes] = []
        while size and (part := self._source.read(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _early(self) -> ImageInvalid:
        return self._wrong("it ends before the end of the archive")

    def _wrong(self, what: str) -> ImageInvalid:
        return ImageInvalid(
            f"{self._where} is not a valid tar: {what}; build or push the image again"
        )


def refuse_entries(where: str, limits: Limits) -> ArchiveUnsafe:
    """The error of an image with too many entries."""
    return ArchiveUnsafe(
        f"{where} brings the image to more than {limits.entries:,} entries; "
        "an image of that many files is refused"
    )


def _first(*values: bytes | None) -> bytes:
    return next((value for value in values if value is not None), b"")


def _name(header: bytes) -> bytes:
    name, prefix = _until_nul(header[:100]), _until_nul(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _until_nul(field_bytes: bytes) -> bytes:
    return field_bytes.partition(b"\0")[0]


def _text(name: bytes) -> str:
    """The text of UTF-8; other bytes are escaped as in Python, since JSON cannot hold them."""
    return name.decode("utf-8", "backslashreplace")


def _xattrs(pax: Mapping[str, bytes]) -> Mapping[str, bytes]:
    attributes = {
        unquote(key[len(_XATTR_BASE64) :]): _from_base64(value)
        for key, value in pax.items()
        if key.startswith(_XATTR_BASE64)
    }
    for key, value in pax.items():
        if key.startswith(_XATTR):
            attributes[key[len(_XATTR) :]] = value
    return attributes or _NOTHING


def _from_base64(value: bytes) -> bytes:
    """The decoded value; as it is, when it is no base64: nothing of an attribute is lost."""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return value
