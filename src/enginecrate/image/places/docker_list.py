"""What of an archive `podman load` and `docker load` read: a list of their own, and whole names.

Source: Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginecrate.image.formats.oci import CONFIG, Descriptor, ImageManifest
from enginecrate.image.transports.closure import Gathered
from enginecrate.image.transports.documents import blobs_of, parse
from enginecrate.values import Digest

__all__ = ["DOCKER_LIST", "FULL_NAME", "DockerImage", "docker_image", "docker_list", "full_name"]

DOCKER_LIST = "manifest.json"
FULL_NAME = "io.containerd.image.name"
"""Annotation that container engines read a whole name from, `registry/repository:tag`."""
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


class DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of the list. `config` and `layers` are files of the archive."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


def full_name(repository: str, tag: str) -> str:
    """What container engines call an image; empty when it has no tag, or nobody named a place."""
    return f"{repository}:{tag}" if repository and tag else ""


def docker_list(roots: Sequence[Gathered], tags: Sequence[str], repository: str) -> bytes:
    """The list: one platform of each image. tags: one for each image, empty where it has none."""
    images = [
        docker_image(gathered, full_name(repository, tag))
        for gathered, tag in zip(roots, tags, strict=True)
    ]
    return msgspec.json.encode([one for one in images if one is not None], order="sorted")


def docker_image(gathered: Gathered, name: str) -> DockerImage | None:
    """An image in the list, under a whole name or none; `None` for what is no image."""
    image = _one_platform(gathered)
    if image is None:
        return None
    config, *layers = (f"blobs/sha256/{Digest(blob.digest).hex}" for blob in image)
    return DockerImage(config, tuple(layers), (name,) if name else None)


def _one_platform(gathered: Gathered) -> tuple[Descriptor, ...] | None:
    """Configuration and layers of an image: of an index, linux/amd64 or else its first one."""
    by_digest = {item.digest: item for item in gathered.items}
    item, choice = (
        gathered.root,
        sorted(gathered.root.children, key=lambda one: (str(one.platform) != "linux/amd64",)),
    )
    if choice:
        item = by_digest[choice[0].digest]
    document = parse(item.data, item.descriptor.media_type, item.digest)
    if not isinstance(document, ImageManifest):
        return None
    is_image = document.config.media_type in (CONFIG, _DOCKER_CONFIG)
    return blobs_of(document) if is_image and not document.artifact_type else None
