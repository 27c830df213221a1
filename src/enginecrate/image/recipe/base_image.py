"""A vendor's image below ours: on Jetson, NVIDIA's libraries come only so.

The user names it; its layers are taken as they are, and ours lie on top. What the rules of
hardening say of a base is its vendor's matter, and `enginecrate audit` tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Layer
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
from enginecrate.image.places.layout import Layout
from enginecrate.image.places.place import Place
from enginecrate.values import Progress, no_progress

__all__ = ["BaseImage", "open_base"]

_BASE = "org.opencontainers.image.base."


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image of one platform, where it lies. name: as the user wrote it."""

    place: Place
    name: str
    digest: str
    manifest: ImageManifest
    config: ImageConfig

    def annotations(self) -> dict[str, str]:
        """What the specification has for images on top of others."""
        return {f"{_BASE}digest": self.digest, f"{_BASE}name": self.name}

    def environment(self) -> dict[str, str]:
        """Its variables."""
        return dict(one.partition("=")[::2] for one in self.config.config.env)

    def copy_layers(self, layout: Layout, progress: Progress = no_progress) -> Iterator[Layer]:
        """Its layers, after they were copied into a layout.

        The size of an unpacked layer stands nowhere in an image; the compressed one is given.
        """
        pairs = zip(self.manifest.layers, self.config.rootfs.diff_ids, strict=True)
        for number, (descriptor, diff_id) in enumerate(pairs):
            progress("copy the base image", number, len(self.manifest.layers))
            if not layout.has_blob(digest_of(descriptor)):
                layout.write_blob(descriptor, self.place.read_blob(descriptor))
            yield Layer(f"base {number + 1}", descriptor, diff_id, descriptor.size)


def open_base(place: Place, name: str, platform: str) -> BaseImage:
    """The image for a platform at a place.

    Args:
        place: a registry's repository, or a layout.
        name: tag or digest there.
        platform: `linux/arm64`; an image without an index must be for it.

    Raises:
        ImageNotFound: there is none of this name.
        RecipeInvalid: it is for another platform.
    """
    found = place.resolve(name)
    if found.media_type in (INDEX, DOCKER_INDEX):
        found = _choose(place, found, name, platform)
    manifest = decode(place.read_manifest(digest_of(found)), ImageManifest, f"{place.name}:{name}")
    data = b"".join(place.read_blob(manifest.config))
    config = decode(data, ImageConfig, f"the configuration of {place.name}:{name}")
    if f"{config.os}/{config.architecture}" != "/".join(platform.split("/")[:2]):
        raise RecipeInvalid(
            f"the base {place.name}:{name} is for {config.os}/{config.architecture}, and the image "
            f"is for {platform}; name another base"
        )
    if len(manifest.layers) != len(config.rootfs.diff_ids):
        raise RecipeInvalid(f"the base {place.name}:{name} does not list all of its layers")
    return BaseImage(place, f"{place.name}:{name}", found.digest, manifest, config)


def _choose(place: Place, found: Descriptor, name: str, platform: str) -> Descriptor:
    index = decode(place.read_manifest(digest_of(found)), ImageIndex, f"{place.name}:{name}")
    for one in index.manifests:
        if one.platform and str(one.platform).startswith(platform):
            return one
    have = ", ".join(str(one.platform) for one in index.manifests if one.platform) or "none"
    raise RecipeInvalid(
        f"the base {place.name}:{name} is not there for {platform} (it has {have}); name another"
    )
