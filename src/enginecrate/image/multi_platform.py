"""One name for an image on several platforms: an OCI image index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from enginecrate.image.formats.oci import INDEX, Descriptor, ImageIndex, Platform, digest_of, encode
from enginecrate.image.transports.layout import Layout

__all__ = ["write_index"]


def _platform_of(text: str) -> Platform:
    """`linux/arm64/v8` as the specification writes it."""
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return Platform(os=system, architecture=architecture, variant=variant)


def write_index(
    layout: Layout,
    manifests: Sequence[tuple[str, Descriptor]],
    tags: Sequence[str],
    annotations: Mapping[str, str],
) -> Descriptor:
    """Give tags to the manifests of several platforms; a single one needs no index around it.

    This is the moment when a layout shows an image: all of it is there already.

    Args:
        layout: that holds the manifests.
        manifests: with their platforms, `linux/amd64`.
        tags: of the whole.
        annotations: of the index.
    """
    if len(manifests) == 1:
        ((_, only),) = manifests
        data = layout.read_manifest(digest_of(only))
        return layout.write_manifest(data, only.media_type, tags)
    listed = tuple(
        msgspec.structs.replace(descriptor, platform=_platform_of(platform))
        for platform, descriptor in sorted(manifests, key=lambda pair: pair[0])
    )
    index = ImageIndex(manifests=listed, annotations=dict(sorted(annotations.items())))
    return layout.write_manifest(encode(index), INDEX, tags)
