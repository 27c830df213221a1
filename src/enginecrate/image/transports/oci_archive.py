"""An OCI image layout in one `.tar` file, read where it is: nothing is unpacked.

Source: OCI Image Format Specification 1.1, image-layout.md; POSIX.1-2017, pax, "ustar".
"""

from __future__ import annotations

import os
import posixpath
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path

from enginecrate.errors import (
    ArchiveUnsafe,
    ImageError,
    ImageInvalid,
    ImageNotFound,
    InputUnreadable,
)
from enginecrate.image.formats.oci import Descriptor, ImageIndex, decode, digest_of
from enginecrate.image.formats.tar_stream import TarEntry, TarReader
from enginecrate.image.transports.base import checked
from enginecrate.image.transports.documents import MAX_MANIFEST
from enginecrate.image.transports.layout_reader import LayoutReader
from enginecrate.values import Digest

__all__ = ["Archive"]

_PIECE = 1 << 20
_MOST_MEMBERS = 100_000
_BLOBS = "blobs/sha256/"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"BZ": "bzip2", b"\xfd7": "xz"}


class Archive(LayoutReader):
    """An `ImageSource` in a file. Thread-safe.

    Raises:
        InputUnreadable: there is no such file, or it may not be read.
        ImageInvalid: it is not an archive of an OCI layout, it is compressed, or cut short.
        ArchiveUnsafe: it holds something else than plain files and folders.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as exc:
            raise InputUnreadable(f"cannot read {path}: {exc.strerror}; check the path") from exc
        self._closing = weakref.finalize(self, self._file.close)
        try:
            self._members = self._find_members()
            if "oci-layout" not in self._members or "index.json" not in self._members:
                raise ImageInvalid(
                    f"{path} is not an archive of an OCI layout (it has no oci-layout or no "
                    "index.json); write one with `enginecrate image save`"
                )
            self._index = decode(self.read_small("index.json"), ImageIndex, f"index.json in {path}")
        except ImageError:
            self.close()
            raise

    @property
    def name(self) -> str:
        return str(self.path)

    def close(self) -> None:
        """Close the file; that also happens when the object goes."""
        self._closing()

    def index(self) -> ImageIndex:
        return self._index

    @property
    def files(self) -> Collection[str]:
        """The names of all its files."""
        return self._members.keys()

    def read_small(self, name: str) -> bytes:
        """A whole file. Raises `ImageInvalid`: it is larger than a manifest may be."""
        offset, size = self._members[name]
        if size > MAX_MANIFEST:
            raise ImageInvalid(f"{name} in {self.path} has {size} bytes; {MAX_MANIFEST} may be")
        return os.pread(self._file.fileno(), size, offset)

    def has_blob(self, digest: Digest) -> bool:
        return _BLOBS + digest.hex in self._members

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        digest = digest_of(descriptor)
        offset, size = self._position_of(digest)
        yield from checked(self._pieces(offset, size), descriptor, self.name)

    def _find_members(self) -> dict[str, tuple[int, int]]:
        """The offset and size of each file's content, by name."""
        head, total = os.pread(self._file.fileno(), 2, 0), os.fstat(self._file.fileno()).st_size
        if head in _COMPRESSED:
            raise ImageInvalid(
                f"{self.path} is compressed with {_COMPRESSED[head]}; unpack that layer of it "
                "first (the images inside are compressed already)"
            )
        members: dict[str, tuple[int, int]] = {}
        reader = TarReader.of_file(self._file, str(self.path), _MOST_MEMBERS)
        for entry in reader:
            self._add(members, entry, self._file.tell(), total)
            reader.skip()
        return members

    def _add(
        self, members: dict[str, tuple[int, int]], entry: TarEntry, offset: int, total: int
    ) -> None:
        # As it would be found when it is unpacked: `a/../index.json` is another `index.json`.
        name = posixpath.normpath(f"/{entry.name}").lstrip("/")
        if entry.kind == "folder":
            return
        if entry.kind != "file" or entry.sparse:
            raise ArchiveUnsafe(
                f"{self.path} holds {name!r}, which is not a plain file; it is no archive of images"
            )
        if name in members:
            raise ArchiveUnsafe(f"{self.path} holds {name!r} twice: which one is meant?")
        if offset + entry.size > total:
            raise ImageInvalid(
                f"{self.path} is cut short (its end is missing); copy it again from its source"
            )
        members[name] = (offset, entry.size)

    def _position_of(self, digest: Digest) -> tuple[int, int]:
        try:
            return self._members[_BLOBS + digest.hex]
        except KeyError:
            raise ImageNotFound(
                f"{self.path} has no blob {digest}; save the image again, with everything"
            ) from None

    def _pieces(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            piece = os.pread(self._file.fileno(), min(_PIECE, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def _bytes_of(self, digest: Digest) -> bytes:
        self._position_of(digest)
        return self.read_small(_BLOBS + digest.hex)
