"""An image with its platforms: index, manifests and configurations, parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginecrate.errors import ImageInvalid, ReleaseInvalid
from enginecrate.image.oci import (
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
    digest_of,
)
from enginecrate.image.places.place import Place
from enginecrate.release.attach import MAX_MANIFEST, read_whole

__all__ = ["OpenedImage", "OpenedPlatform", "open_image"]


@dataclass(frozen=True, slots=True)
class OpenedPlatform:
    """The image for one platform. `platform`: `linux/amd64`, from its configuration."""

    platform: str
    descriptor: Descriptor
    manifest: ImageManifest
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """descriptor: of the index, or of the only manifest. annotations: of that, and of the first."""

    descriptor: Descriptor
    platforms: tuple[OpenedPlatform, ...]
    annotations: Mapping[str, str]

    def note(self, name: str) -> str:
        """An annotation; else the label of this name; else empty."""
        found = self.annotations.get(name)
        return found or self.platforms[0].config.config.labels.get(name, "")


def open_image(place: Place, descriptor: Descriptor) -> OpenedImage:
    """Read an image's manifests and configurations.

    Raises:
        ImageInvalid: they are malformed, or it is an artifact and no image.
        ReleaseInvalid: one of them is too large.
        BlobCorrupt, ImageNotFound: one is damaged or missing.
    """
    if descriptor.media_type not in (INDEX, DOCKER_INDEX):
        platform = _open_platform(place, descriptor)
        return OpenedImage(descriptor, (platform,), platform.manifest.annotations)
    index = decode(_manifest(place, descriptor), ImageIndex, f"the index {descriptor.digest}")
    listed = [one for one in index.manifests if not _is_artifact(one)]
    if not listed:
        raise ImageInvalid(f"the index {descriptor.digest} lists no image; build it again")
    platforms = tuple(_open_platform(place, one) for one in listed)
    notes = {**platforms[0].manifest.annotations, **index.annotations}
    return OpenedImage(descriptor, platforms, notes)


def _open_platform(place: Place, descriptor: Descriptor) -> OpenedPlatform:
    where = f"the manifest {descriptor.digest}"
    manifest = decode(_manifest(place, descriptor), ImageManifest, where)
    if manifest.artifact_type or manifest.subject is not None:
        raise ImageInvalid(f"{where} is {manifest.artifact_type!r}, not an image; name an image")
    config = decode(
        read_whole(place, manifest.config, MAX_MANIFEST),
        ImageConfig,
        f"the configuration {manifest.config.digest}",
    )
    platform = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    return OpenedPlatform(platform, descriptor, manifest, config)


def _manifest(place: Place, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_MANIFEST:
        raise ReleaseInvalid(
            f"{descriptor.digest} has {descriptor.size} bytes, and manifests have at most "
            f"{MAX_MANIFEST}"
        )
    return place.read_manifest(digest_of(descriptor))


def _is_artifact(descriptor: Descriptor) -> bool:
    """What BuildKit puts among the platforms: attestations for `unknown/unknown`."""
    platform = descriptor.platform
    return platform is not None and platform.architecture == "unknown"
