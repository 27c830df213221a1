"""All packages of a lock as an OCI artifact: mirrors delete old packages, a registry keeps them.

One blob for each file, with its name as title, and the lock. Source: OCI Image Format Specification
1.1, "Guidelines for Artifact Usage"; titles as `org.opencontainers.image.title`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import (
    EMPTY,
    EMPTY_DATA,
    Descriptor,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.stacks.lock import (
    LOCK_NAME,
    Lock,
    LockedDeb,
    LockedImage,
    LockedWheel,
    render_lock,
)
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["INPUTS", "StoredInputs", "store_inputs"]

INPUTS = "application/vnd.enginecrate.inputs.v1+json"
"""The artifact type."""

_TITLE = "org.opencontainers.image.title"
_DEB = "application/vnd.debian.binary-package"
_WHEEL = "application/zip"
_LOCK = "application/toml"
_PIECE = 1 << 20


def store_inputs(
    lock: Lock,
    files: Mapping[str, Path],
    transport: ImageTarget,
    tag: str,
    progress: Progress = no_progress,
) -> Descriptor:
    """Write every package that a lock names, and the lock, as one artifact.

    Args:
        lock: what to store.
        files: the packages' files by sha256 (`ArtifactCache.obtain_all`).
        transport: where to.
        tag: its name there.
        progress: called for each file.

    Raises:
        BlobCorrupt: a file is not what the lock says.
    """
    data = render_lock(lock)
    layers = {one.digest: one for image in lock.images for one in _layers(image)}
    ordered = sorted(layers.values(), key=lambda one: (one.annotations[_TITLE], one.digest))
    for done, layer in enumerate(ordered):
        progress("store inputs", done, len(ordered))
        if not transport.has_blob(digest_of(layer)):
            transport.write_blob(layer, _pieces(files[digest_of(layer).hex]))
    config = _small(EMPTY, EMPTY_DATA)
    own = msgspec.structs.replace(_small(_LOCK, data), annotations={_TITLE: LOCK_NAME})
    transport.write_blob(config, iter((EMPTY_DATA,)))
    transport.write_blob(own, iter((data,)))
    manifest = ImageManifest(artifact_type=INPUTS, config=config, layers=(own, *ordered))
    return transport.write_manifest(encode(manifest), manifest.media_type, (tag,))


class StoredInputs:
    """Packages that `store_inputs` wrote."""

    def __init__(self, transport: ImageSource, name: str) -> None:
        """Read the artifact's list.

        Args:
            transport: where it lies.
            name: its tag or digest.

        Raises:
            ImageNotFound: there is none.
            ImageInvalid: it is something else.
        """
        self._transport = transport
        digest = digest_of(transport.resolve(name))
        manifest = decode(
            transport.read_manifest(digest), ImageManifest, f"{transport.name} {name}"
        )
        if manifest.artifact_type != INPUTS:
            raise ImageInvalid(
                f"{transport.name} {name} does not hold inputs of `enginecrate lock --vendor`, but "
                f"{manifest.artifact_type or 'an image'}; name another one"
            )
        self._layers = {digest_of(layer).hex: layer for layer in manifest.layers}

    def fetch(self, package: LockedDeb | LockedWheel, file: Path) -> bool:
        """Write a package to a file; false: it is not among the inputs.

        Raises:
            BlobCorrupt: what is stored is not what the lock says.
        """
        layer = self._layers.get(package.sha256)
        if layer is None:
            return False
        # The lock knows the size, unless this is the first time that it is resolved.
        layer = msgspec.structs.replace(layer, size=package.size or layer.size)
        with file.open("wb") as target:
            for piece in self._transport.read_blob(layer):
                target.write(piece)
        return True


def _layers(image: LockedImage) -> Iterator[Descriptor]:
    for deb in image.debs:
        yield _layer(_DEB, deb)
    for wheel in image.wheels:
        yield _layer(_WHEEL, wheel)


def _layer(media_type: str, package: LockedDeb | LockedWheel) -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest=f"sha256:{package.sha256}",
        size=package.size,
        annotations={_TITLE: package.file},
    )


def _small(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_PIECE), b"")
