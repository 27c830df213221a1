"""The files of an image, its layers merged: digests of all of them, and the bytes of a few.

All layers are read once: each is hashed, and the audit looks at every file in the same pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from enginecrate.errors import ArchiveUnsafe
from enginecrate.image.audit.file_scan import FileScan
from enginecrate.image.audit.subject_reader import ScannedFiles
from enginecrate.image.formats.oci import ImageManifest
from enginecrate.image.reading.filesystem import Content, Entry, Filesystem, read_filesystem
from enginecrate.image.transports.base import ImageSource
from enginecrate.manifest.golden_samples import GOLDEN_NAME
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["APP", "PLANS", "Contents", "Hashed", "WholeImage", "read_whole_image"]

APP = "opt/enginecrate/app/"
PLANS = "opt/enginecrate/plans/"
_MAX_KEPT = 16 << 20
"""Limit on the size of a file whose bytes are kept."""
MAX_KEPT_IN_ALL = 256 << 20
"""Limit on what is kept of all layers together, those files included that later layers hide."""
_PIECE = 1 << 20


@dataclass(slots=True)
class Contents:
    """The files of an image as a container sees them.

    files: digests by path, without a leading slash. kept: the bytes of those that are interesting.
    """

    files: dict[str, Digest] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WholeImage:
    """unpacked: the digest of each layer's tar. contents, seen: of all layers together."""

    unpacked: tuple[Digest, ...]
    contents: Contents
    seen: ScannedFiles


def read_whole_image(
    transport: ImageSource, manifest: ImageManifest, progress: Progress = no_progress
) -> WholeImage:
    """Read all layers of one platform once.

    Raises:
        ImageInvalid, ArchiveUnsafe, BlobCorrupt, ImageNotFound: as from `read_filesystem`; also
            when the small files are not small.
    """
    taps: list[Hashed] = []
    look = _Look()

    def tap(_: int, tar: BinaryIO) -> BinaryIO:
        taps.append(Hashed(tar))
        return cast(BinaryIO, taps[-1])

    files = read_filesystem(transport, manifest, observe=look, tap=tap, progress=progress)
    return WholeImage(
        tuple(one.digest for one in taps), look.contents(files), ScannedFiles(files, look.audit)
    )


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
        """The digest of everything so far."""
        return Digest(f"sha256:{self._hasher.hexdigest()}")


class _Look:
    """Hashes every file, keeps those that verification reads, and shows all to the audit."""

    def __init__(self) -> None:
        self.audit = FileScan()
        self._digests: dict[int, Digest] = {}
        self._kept: dict[int, bytes] = {}
        self._kept_bytes = 0

    def __call__(self, entry: Entry, content: Content) -> None:
        keep = _is_interesting(entry.path) and entry.size <= _MAX_KEPT
        self._kept_bytes += entry.size if keep else 0
        if self._kept_bytes > MAX_KEPT_IN_ALL:
            raise ArchiveUnsafe(
                f"the lists of packages and plans in the image have more than {MAX_KEPT_IN_ALL:,} "
                "bytes; do not run it"
            )
        passing = _Passing(content, keep=keep)
        self.audit(entry, passing)
        while passing.read(_PIECE):
            pass
        self._digests[entry.inode] = passing.digest
        if passing.kept is not None:
            self._kept[entry.inode] = b"".join(passing.kept)

    def contents(self, files: Filesystem) -> Contents:
        """The files that a container sees."""
        contents = Contents()
        for entry in files:
            if entry.kind == "file":
                contents.files[entry.path] = self._digests[entry.inode]
                if entry.inode in self._kept and _is_interesting(entry.path):
                    contents.kept[entry.path] = self._kept[entry.inode]
        return contents


class _Passing:
    """A file's content that is hashed while it is read."""

    def __init__(self, source: Content, *, keep: bool) -> None:
        self._source, self._hasher = source, hashlib.sha256()
        self.kept: list[bytes] | None = [] if keep else None

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hasher.update(data)
        if self.kept is not None:
            self.kept.append(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hasher.hexdigest()}")


def _is_interesting(path: str) -> bool:
    """The files whose bytes are read: lists of packages and samples, plans, manifest and lock."""
    name = PurePosixPath(path).name
    return (
        path in (f"{APP}enginecrate.toml", f"{APP}enginecrate.lock", "var/lib/dpkg/status")
        or path.startswith("var/lib/dpkg/status.d/")
        or (name == "METADATA" and ".dist-info/" in path)
        or (name == "plan.json" and path.startswith(PLANS))
        or (name == GOLDEN_NAME and path.startswith(APP))
    )
