"""Facts about an image: platforms, layers, needs, start. Only small documents are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import (
    DOCKER_INDEX,
    INDEX,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
)
from enginecrate.image.reading.configuration import read_config
from enginecrate.image.recipe.annotations import Requirements, read_requirements
from enginecrate.image.transports.base import ImageSource, read_listed
from enginecrate.image.transports.tags import is_attachment_tag, tags_of_digest

__all__ = ["ImageFacts", "LayerFacts", "PlatformFacts", "read_facts"]


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer. title: from the history; size: in bytes, compressed."""

    title: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """The image of one platform. needs: `None` for an image that is not ours."""

    platform: str
    digest: str
    config: ImageConfig
    layers: tuple[LayerFacts, ...]
    annotations: dict[str, str]
    needs: Requirements | None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image under its name. tags: others that name the same, of those that are most alike."""

    name: str
    digest: str
    tags: tuple[str, ...]
    platforms: tuple[PlatformFacts, ...]


def read_facts(transport: ImageSource, name: str) -> ImageFacts:
    """Read manifests and configurations of an image.

    Raises:
        ImageNotFound: there is none of this name.
        ImageInvalid: it does not follow the specification.
    """
    root = transport.resolve(name)
    others = [tag for tag in transport.tags() if tag != name and not is_attachment_tag(tag)]
    # Not all can be asked for; `v1.2-ort-cpu` is more probable than `v0.9-ort-cpu`.
    others.sort(key=lambda tag: -_likeness(tag, name))
    tags = tuple(sorted(tags_of_digest(transport, root.digest, others)))
    platforms = tuple(_platform(transport, one) for one in _manifests(transport, root))
    return ImageFacts(f"{transport.name}:{name}", root.digest, tags, platforms)


def _likeness(first: str, other: str) -> int:
    """The number of equal characters, from the beginning."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(first, other, strict=False))))


def _manifests(transport: ImageSource, root: Descriptor) -> Iterator[Descriptor]:
    if root.media_type not in (INDEX, DOCKER_INDEX):
        yield root
        return
    index = decode(read_listed(transport, root), ImageIndex, root.digest)
    yield from (one for one in index.manifests if one.platform and one.platform.os != "unknown")


def _platform(transport: ImageSource, descriptor: Descriptor) -> PlatformFacts:
    manifest = decode(read_listed(transport, descriptor), ImageManifest, descriptor.digest)
    config = read_config(transport, manifest.config)
    titles = [line.created_by for line in config.history if not line.empty_layer]
    titles += [""] * (len(manifest.layers) - len(titles))
    try:
        needs = read_requirements(manifest.annotations)
    except ImageInvalid:
        needs = None
    system = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    layers = tuple(
        LayerFacts(title.removeprefix("enginecrate: "), layer.digest, layer.size)
        for title, layer in zip(titles, manifest.layers, strict=False)
    )
    return PlatformFacts(system, descriptor.digest, config, layers, manifest.annotations, needs)
