"""One image as a tar with an OCI layout, as `podman load` and `docker load` (25 and later) take it.

It is written while it is read: nothing of the image is ever whole in memory.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

import msgspec

from enginecrate.image.formats.oci import (
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import ImageSource

__all__ = ["write_archive"]

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_DOCKER_NAME = "io.containerd.image.name"


def write_archive(
    transport: ImageSource,
    descriptor: Descriptor,
    manifest: ImageManifest,
    name: str,
    file: BinaryIO,
) -> None:
    """Write an image of one platform under a name. Raises `ImageError`, `OSError`."""
    named = msgspec.structs.replace(
        descriptor, platform=None, annotations={REF_NAME: name, _DOCKER_NAME: name}
    )
    index = encode(ImageIndex(manifests=(named,)))
    data = transport.read_manifest(digest_of(descriptor))
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "oci-layout", len(_LAYOUT), io.BytesIO(_LAYOUT))
        _add(tar, "index.json", len(index), io.BytesIO(index))
        _add(tar, _path(descriptor), len(data), io.BytesIO(data))
        written: set[str] = set()
        for blob in (manifest.config, *manifest.layers):
            if blob.digest not in written:
                _add(
                    tar, _path(blob), blob.size, cast(BinaryIO, _Reader(transport.read_blob(blob)))
                )
                written.add(blob.digest)


def _path(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{digest_of(descriptor).hex}"


def _add(tar: tarfile.TarFile, path: str, size: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(path)
    info.size = size
    tar.addfile(info, content)


class _Reader:
    """An iterator of bytes as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
