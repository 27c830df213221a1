"""What is in an image's layers, read once: digests of all files, and the bytes of a few."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from enginecrate.errors import ArchiveUnsafe
from enginecrate.image.oci import Descriptor
from enginecrate.image.places.place import Place
from enginecrate.image.reading.decompression import open_layer
from enginecrate.image.reading.tar_stream import Limits, TarEntry, TarReader
from enginecrate.values import Digest

__all__ = ["APP", "MAX_KEPT", "PLANS", "Contents", "Hashed", "is_interesting"]

APP = "opt/enginecrate/app/"
PLANS = "opt/enginecrate/plans/"

_LIMITS = Limits()
_PIECE = 1 << 20
MAX_KEPT = 16 << 20
MAX_KEPT_IN_ALL = 256 << 20
_OPAQUE = ".wh..wh..opq"
_WHITEOUT = ".wh."


def is_interesting(path: str) -> bool:
    """Files that verification reads: small, and named here."""
    name = PurePosixPath(path).name
    return (
        path in (f"{APP}enginecrate.toml", f"{APP}enginecrate.lock", "var/lib/dpkg/status")
        or path.startswith("var/lib/dpkg/status.d/")
        or (name == "METADATA" and ".dist-info/" in path)
        or (name == "plan.json" and path.startswith(PLANS))
    )


@dataclass(slots=True)
class Contents:
    """The files of an image, lower layers first, as a container sees them.

    files: digests by path, without a leading slash. kept: the bytes of those that are wanted.
    entries, kept_bytes: how many of all layers were read; both have limits.
    """

    wanted: Callable[[str], bool] = is_interesting
    files: dict[str, Digest] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    entries: int = 0
    kept_bytes: int = 0

    def add_layer(
        self, place: Place, layer: Descriptor, where: str, seen: Callable[[int], None]
    ) -> Digest:
        """Lay the next layer over those below.

        Args:
            place: where the layer is.
            layer: of its blob.
            where: for messages: `layer 3 of linux/amd64`.
            seen: called with the size of each piece that was read.

        Returns:
            The digest of the uncompressed tar.

        Raises:
            BlobCorrupt, ImageInvalid, ArchiveUnsafe, ImageNotFound: it is damaged or missing.
        """
        with open_layer(place, layer, seen) as unpacked:
            hashed = Hashed(unpacked)
            reader = TarReader(
                cast(BinaryIO, hashed),
                where,
                limits=_LIMITS,
                most_bytes=max(_LIMITS.ratio_from, _LIMITS.ratio * layer.size),
                most_entries=_LIMITS.entries - self.entries,
            )
            fresh: dict[str, Digest] = {}
            for entry in reader:
                self._add(entry, reader, fresh)
            while hashed.read(_PIECE):
                pass
            self.entries += reader.headers
            self.files.update(fresh)
        return hashed.digest

    def _add(self, entry: TarEntry, reader: TarReader, fresh: dict[str, Digest]) -> None:
        path = str(PurePosixPath("/", entry.name)).lstrip("/")
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._remove(f"{folder}/" if folder else "")
        elif name.startswith(_WHITEOUT):
            gone = f"{folder}/{name[len(_WHITEOUT) :]}".lstrip("/")
            self._remove(gone, exactly=True)
            self._remove(f"{gone}/")
        elif entry.kind == "file":
            fresh[path] = self._read(path, entry, reader)
        elif entry.kind == "hardlink":
            self._link(path, str(PurePosixPath("/", entry.target)).lstrip("/"), fresh)
        elif entry.kind != "folder":
            self._remove(path, exactly=True)
            fresh.pop(path, None)

    def _link(self, path: str, target: str, fresh: dict[str, Digest]) -> None:
        found = fresh.get(target) or self.files.get(target)
        if found is not None:
            fresh[path] = found
        if target in self.kept and self.wanted(path):
            self.kept[path] = self.kept[target]

    def _remove(self, prefix: str, *, exactly: bool = False) -> None:
        # An image may have a million links: no walk over all files for each of them.
        gone = (
            [path for path in (prefix,) if path in self.files]
            if exactly
            else [path for path in self.files if path.startswith(prefix)]
        )
        for path in gone:
            del self.files[path]
            self.kept.pop(path, None)

    def _read(self, path: str, entry: TarEntry, reader: TarReader) -> Digest:
        hasher = hashlib.sha256()
        pieces: list[bytes] = []
        keep = self.wanted(path) and entry.size <= MAX_KEPT
        self.kept_bytes += entry.size if keep else 0
        if self.kept_bytes > MAX_KEPT_IN_ALL:
            raise ArchiveUnsafe(
                f"the lists of packages and plans in the image have more than {MAX_KEPT_IN_ALL:,} "
                "bytes; do not run it"
            )
        while piece := reader.read(_PIECE):
            hasher.update(piece)
            if keep:
                pieces.append(piece)
        self.kept.pop(path, None)
        if keep:
            self.kept[path] = b"".join(pieces)
        return Digest(f"sha256:{hasher.hexdigest()}")


class Hashed:
    """A reader that hashes what passes."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._hasher = source, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hasher.update(data)
        return data

    @property
    def digest(self) -> Digest:
        """Of everything so far."""
        return Digest(f"sha256:{self._hasher.hexdigest()}")
