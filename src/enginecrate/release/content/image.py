"""An image with its platforms, parsed: index, manifests and configurations; and its release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginecrate.errors import ImageInvalid, ReleaseInvalid
from enginecrate.image.formats.oci import (
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
    decode_config,
)
from enginecrate.image.recipe.tags import check_tag
from enginecrate.image.transports.base import ImageSource, read_listed
from enginecrate.release.documents.artifacts import MAX_MANIFEST, read_whole
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.tag_check import naming_problem

__all__ = [
    "RELEASE_NOTE",
    "ImageRoot",
    "OpenedImage",
    "OpenedPlatform",
    "find_release",
    "open_image",
    "open_platforms",
    "read_notes",
    "read_root",
]

RELEASE_NOTE = "io.enginecrate.release"
"""Annotation and label of an image: the tag of its release manifest."""
_MAX_PLATFORMS = 64


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """The manifest or index that a digest names, before any of its platforms is opened.

    listed: the manifests of its platforms, none of them twice; of an artifact none. manifest: its
    own, when it is no index. is_artifact: nothing that can be run.
    """

    descriptor: Descriptor
    listed: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    manifest: ImageManifest | None = None
    is_artifact: bool = False


@dataclass(frozen=True, slots=True)
class OpenedPlatform:
    """The image for one platform. `platform`: `linux/amd64`, from its configuration."""

    platform: str
    descriptor: Descriptor
    manifest: ImageManifest
    config: ImageConfig

    def note(self, name: str) -> str:
        """An annotation; else the label of this name; else empty."""
        return self.manifest.annotations.get(name) or self.config.config.labels.get(name, "")


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """descriptor: of the index, or of the only manifest. annotations: of that."""

    descriptor: Descriptor
    platforms: tuple[OpenedPlatform, ...]
    annotations: Mapping[str, str]

    def note(self, name: str) -> str:
        """An annotation; else what the first platform says; else empty."""
        return self.annotations.get(name) or self.platforms[0].note(name)


def read_root(transport: ImageSource, descriptor: Descriptor) -> ImageRoot:
    """Read an index or a manifest, and nothing that it points to.

    Raises:
        ImageInvalid: it is malformed, or lists no platform, or more than `_MAX_PLATFORMS`.
        ReleaseInvalid: it is too large.
        BlobCorrupt, ImageNotFound: it is damaged or missing.
    """
    if descriptor.media_type not in (INDEX, DOCKER_INDEX):
        manifest = _manifest(transport, descriptor)
        is_artifact = bool(manifest.artifact_type) or manifest.subject is not None
        listed = () if is_artifact else (descriptor,)
        return ImageRoot(descriptor, listed, manifest.annotations, manifest, is_artifact)
    where = f"the index {descriptor.digest}"
    index = decode(_bytes_of(transport, descriptor), ImageIndex, where)
    if index.artifact_type or index.subject is not None:
        return ImageRoot(descriptor, (), index.annotations, is_artifact=True)
    platforms = {one.digest: one for one in index.manifests if not _is_artifact(one)}
    if not platforms:
        raise ImageInvalid(f"{where} lists no image; build it again")
    if len(platforms) > _MAX_PLATFORMS:
        raise ImageInvalid(
            f"{where} lists {len(platforms)} platforms, and at most {_MAX_PLATFORMS} are read; "
            "build it for fewer"
        )
    return ImageRoot(descriptor, tuple(platforms.values()), index.annotations)


def read_notes(transport: ImageSource, root: ImageRoot, *names: str) -> tuple[str, ...]:
    """Annotations of an image. Where one is missing, its first platform is opened for it.

    Raises: as `open_image`.
    """
    notes = [root.annotations.get(name, "") for name in names]
    if all(notes) or not root.listed:
        return tuple(notes)
    first = _open_platform(transport, root, root.listed[0])
    return tuple(one or first.note(name) for one, name in zip(notes, names, strict=True))


def open_image(transport: ImageSource, descriptor: Descriptor) -> OpenedImage:
    """Read an image's manifests and configurations.

    Raises:
        ImageInvalid: they are malformed, or too many, or it is an artifact and no image.
        ReleaseInvalid: one of them is too large.
        BlobCorrupt, ImageNotFound: one is damaged or missing.
    """
    return open_platforms(transport, read_root(transport, descriptor))


def open_platforms(transport: ImageSource, root: ImageRoot) -> OpenedImage:
    """Read the manifests and configurations of all platforms. Raises: as `open_image`."""
    if root.is_artifact:
        raise ImageInvalid(f"{root.descriptor.digest} is an artifact, not an image; name an image")
    platforms = tuple(_open_platform(transport, root, one) for one in root.listed)
    return OpenedImage(root.descriptor, platforms, root.annotations)


def find_release(transport: ImageSource, name: str) -> tuple[Descriptor, ReleaseManifest]:
    """The release manifest that a name stands for: its own, or that of one of its images.

    Nothing is verified, but that a release belongs to the image which was named.

    Raises:
        ImageNotFound, BlobCorrupt: as `read_release`.
        ReleaseInvalid: as `read_release`; or the release does not list the image, or lists another
            one under this tag.
    """
    descriptor = transport.resolve(name)
    root = read_root(transport, descriptor)
    if root.is_artifact:
        return read_release(transport, name)
    (tag,) = read_notes(transport, root, RELEASE_NOTE)
    if not tag:
        raise ReleaseInvalid(
            f"{name} in {transport.name} does not say which release it belongs to; name the "
            "release manifest, such as v1.2.0-release"
        )
    manifest, release = read_release(transport, check_tag(tag))
    if problem := naming_problem(release, tag, name, descriptor.digest):
        raise ReleaseInvalid(problem)
    return manifest, release


def _open_platform(
    transport: ImageSource, root: ImageRoot, descriptor: Descriptor
) -> OpenedPlatform:
    manifest = root.manifest or _manifest(transport, descriptor)
    if manifest.artifact_type or manifest.subject is not None:
        raise ImageInvalid(
            f"the manifest {descriptor.digest} is {manifest.artifact_type!r}, not an image; name "
            "an image"
        )
    config = decode_config(
        read_whole(transport, manifest.config, MAX_MANIFEST),
        f"the configuration {manifest.config.digest}",
    )
    platform = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    return OpenedPlatform(platform, descriptor, manifest, config)


def _manifest(transport: ImageSource, descriptor: Descriptor) -> ImageManifest:
    where = f"the manifest {descriptor.digest}"
    return decode(_bytes_of(transport, descriptor), ImageManifest, where)


def _bytes_of(transport: ImageSource, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_MANIFEST:
        raise ReleaseInvalid(
            f"{descriptor.digest} has {descriptor.size} bytes, and manifests have at most "
            f"{MAX_MANIFEST}"
        )
    return read_listed(transport, descriptor)


def _is_artifact(descriptor: Descriptor) -> bool:
    """True for attestations that BuildKit lists as the platform `unknown/unknown`."""
    platform = descriptor.platform
    return platform is not None and platform.architecture == "unknown"
