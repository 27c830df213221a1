"""The files of an image that a bill of materials is collected from, read in one pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import ImageManifest
from enginecrate.image.reading.filesystem import Content, Entry, Filesystem, read_filesystem
from enginecrate.image.transports.base import ImageSource
from enginecrate.values import Progress, no_progress

__all__ = ["APP", "PLANS", "ImageFiles", "read_image_files"]

APP = "opt/enginecrate/app/"
PLANS = "opt/enginecrate/plans/"

_READ = re.compile(
    r"var/lib/dpkg/(status|status\.d/[^/]+)|(etc|usr/lib)/os-release|usr/share/doc/[^/]+/copyright"
    rf"|(.*/)?[^/]+\.dist-info/.*|{APP}.*\.(toml|md)|{PLANS}.*\.json"
)
_HASHED = re.compile(rf"{APP}.*|{PLANS}.*|.*\.libs/[^/]*\.so[^/]*")
_MOST = 8 << 20
"""Bytes of the largest file whose content is kept; licences and metadata are far smaller."""
_PIECE = 1 << 20


class ImageFiles:
    """The files of an image, all layers together. Paths have no leading slash."""

    def __init__(
        self,
        filesystem: Filesystem,
        contents: dict[int, bytes],
        digests: dict[int, str],
        base_layers: int = 0,
    ) -> None:
        """`base_layers`: the number of layers, lowest first, that are those of a vendor's image."""
        self._filesystem, self._contents, self._digests = filesystem, contents, digests
        self._base_layers = base_layers
        self.paths: Sequence[str] = tuple(one.path for one in filesystem if one.kind == "file")

    def read(self, path: str) -> bytes:
        """The bytes of a file; links are followed.

        Raises:
            KeyError: there is none, or it is not one that a bill of materials is made of.
        """
        return self._contents[self._entry(path).inode]

    def sha256(self, path: str) -> str:
        """The checksum of a file, in hex. Raises `KeyError`, as `read`."""
        return self._digests[self._entry(path).inode]

    def in_base(self, path: str) -> bool:
        """True if a file came with the vendor's image below. Raises `KeyError`, as `read`."""
        return self._entry(path).layer < self._base_layers

    def _entry(self, path: str) -> Entry:
        entry = self._filesystem.resolve(path)
        if entry is None or entry.kind != "file":
            raise KeyError(path)
        return entry


def read_image_files(
    transport: ImageSource,
    manifest: ImageManifest,
    progress: Progress = no_progress,
    *,
    base_layers: int = 0,
) -> ImageFiles:
    """Read an image's layers as a stream and keep what a bill of materials needs.

    Args:
        transport: where the image is.
        manifest: of one platform.
        progress: counts bytes of the layers.
        base_layers: as for `ImageFiles`.

    Raises:
        ImageInvalid, ArchiveUnsafe, BlobCorrupt, ImageNotFound: as from `read_filesystem`; or a
            description of a package is far larger than any is.
    """
    contents: dict[int, bytes] = {}
    digests: dict[int, str] = {}

    def observe(entry: Entry, content: Content) -> None:
        if _READ.fullmatch(entry.path):
            _check_size(entry)
            data = content.read()
            contents[entry.inode] = data
            digests[entry.inode] = hashlib.sha256(data).hexdigest()
        elif _HASHED.fullmatch(entry.path):
            hasher = hashlib.sha256()
            while piece := content.read(_PIECE):
                hasher.update(piece)
            digests[entry.inode] = hasher.hexdigest()

    filesystem = read_filesystem(transport, manifest, observe=observe, progress=progress)
    return ImageFiles(filesystem, contents, digests, base_layers)


def _check_size(entry: Entry) -> None:
    if entry.size > _MOST:
        raise ImageInvalid(
            f"/{entry.path} has {entry.size:,} bytes; of a file that describes what is in an "
            f"image, no more than {_MOST:,} are read; take it out, and build the image again"
        )
