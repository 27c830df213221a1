"""A vendor's image below ours: on Jetson, NVIDIA's libraries come only so.

The user names it by its digest; its layers are taken as they are, and ours lie on top. Its
hardening is its vendor's matter, and `enginecrate audit` tells the findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enginecrate.errors import RecipeInvalid
from enginecrate.image.formats.oci import (
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
    decode_config,
    digest_of,
)
from enginecrate.image.layers.entries import Layer
from enginecrate.image.transports.base import ImageSource, read_listed
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_transport
from enginecrate.manifest.image_rules import base_image_fault
from enginecrate.values import ImageRef, Progress, no_progress

__all__ = ["BaseImage", "open_base"]

_BASE = "org.opencontainers.image.base."


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image of one platform in its transport.

    name: its name in a registry, or its tag in a layout; empty, when it has only a digest there.
        Never a folder: it is written into images.
    """

    transport: ImageSource
    name: str
    digest: str
    manifest: ImageManifest
    config: ImageConfig

    def annotations(self) -> dict[str, str]:
        """The specification's annotations for images on top of others."""
        name = {f"{_BASE}name": self.name} if self.name else {}
        return {f"{_BASE}digest": self.digest, **name}

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
                layout.write_blob(descriptor, self.transport.read_blob(descriptor))
            yield Layer(f"base {number + 1}", descriptor, diff_id, descriptor.size)


def open_base(text: str, platform: str) -> BaseImage:
    """The image for a platform.

    Args:
        text: `registry/repository[:TAG]@sha256:...` or `oci:FOLDER[:TAG]@sha256:...`.
        platform: `linux/arm64`; an image without an index must be for it.

    Raises:
        RecipeInvalid: it is named without its digest, or is for another platform.
        ImageNotFound: there is none of this name.
    """
    if fault := base_image_fault(text):
        raise RecipeInvalid(f"base image: {fault}")
    transport, digest = open_transport(text)
    descriptor = transport.resolve(digest)
    if descriptor.media_type in (INDEX, DOCKER_INDEX):
        descriptor = _choose(transport, descriptor, text, platform)
    manifest = decode(read_listed(transport, descriptor), ImageManifest, text)
    data = b"".join(transport.read_blob(manifest.config))
    config = decode_config(data, f"the configuration of {text}")
    if f"{config.os}/{config.architecture}" != "/".join(platform.split("/")[:2]):
        raise RecipeInvalid(
            f"the base {text} is for {config.os}/{config.architecture}, and the image "
            f"is for {platform}; name another base"
        )
    if len(manifest.layers) != len(config.rootfs.diff_ids):
        raise RecipeInvalid(f"the base {text} does not list all of its layers")
    return BaseImage(transport, _public_name(text), descriptor.digest, manifest, config)


def _public_name(text: str) -> str:
    """The name of a base that may stand in images: never a folder."""
    name = text.rpartition("@")[0]
    if text.startswith("oci:"):
        last = name.rpartition("/")[2].removeprefix("oci:")
        return last.rpartition(":")[2] if ":" in last else ""
    return name if ImageRef.parse(name).tag else text


def _choose(transport: ImageSource, root: Descriptor, text: str, platform: str) -> Descriptor:
    index = decode(read_listed(transport, root), ImageIndex, text)
    for manifest in index.manifests:
        if manifest.platform and str(manifest.platform).startswith(platform):
            return manifest
    have = ", ".join(str(one.platform) for one in index.manifests if one.platform) or "none"
    raise RecipeInvalid(
        f"the base {text} is not there for {platform} (it has {have}); name another"
    )
