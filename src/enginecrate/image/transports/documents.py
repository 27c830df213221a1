"""Manifests and indexes as bytes: their kinds, and the blobs and manifests they point to.

Source: OCI Image Format Specification 1.1 (manifest.md, image-index.md); Docker's image manifest
version 2, schema 2, has the same keys.
"""

from __future__ import annotations

import msgspec

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    Descriptor,
    ImageIndex,
    ImageManifest,
    decode,
    digest_of,
)
from enginecrate.values import Digest

__all__ = [
    "INDEX_TYPES",
    "MANIFEST_TYPES",
    "MAX_MANIFEST",
    "blobs_of",
    "children_of",
    "kind_of",
    "media_type_of",
    "parse",
    "referrer_entry",
    "subject_of",
]

MAX_MANIFEST = 4 << 20
"""Bytes of the largest manifest; registries must take that much (distribution specification)."""

INDEX_TYPES = (INDEX, DOCKER_INDEX)
MANIFEST_TYPES = (MANIFEST, DOCKER_MANIFEST, *INDEX_TYPES)
"""The understood types. Docker's schema 1 is none of them: it has no digest of its own."""


class _Shape(msgspec.Struct, rename="camel"):
    """The keys that tell an index from a manifest."""

    schema_version: int = 0
    media_type: str = ""
    manifests: list[msgspec.Raw] | None = None
    layers: list[msgspec.Raw] | None = None
    config: dict[str, msgspec.Raw] | None = None


def media_type_of(data: bytes, where: str, declared: str = "") -> str:
    """The media type of a manifest or index, from its own words and from its keys.

    Args:
        data: the document.
        where: for messages.
        declared: what the registry or a descriptor says that it is, or nothing.

    Raises:
        ImageInvalid: too large, not a document of a known type, one that is both a manifest and
            an index, or not what was declared: two programs could read it differently.
    """
    if len(data) > MAX_MANIFEST:
        raise ImageInvalid(f"{where} has {len(data)} bytes; manifests may have {MAX_MANIFEST}")
    shape = decode(data, _Shape, where)
    is_index = shape.manifests is not None
    if is_index == (shape.layers is not None or shape.config is not None):
        raise ImageInvalid(f"{where} is not a manifest or an index of images; push it again")
    declared = declared.partition(";")[0].strip()
    known = declared if declared in MANIFEST_TYPES else ""
    if shape.media_type and known and shape.media_type != known:
        raise ImageInvalid(f"{where} says that it is {shape.media_type}, but was sent as {known}")
    media_type = shape.media_type or known or (INDEX if is_index else MANIFEST)
    if media_type not in MANIFEST_TYPES or (media_type in INDEX_TYPES) != is_index:
        raise ImageInvalid(
            f"{where} has the media type {media_type!r}, which is not supported; "
            "push it as an OCI image, or in Docker's format version 2, schema 2"
        )
    return media_type


def parse(data: bytes, media_type: str, where: str) -> ImageManifest | ImageIndex:
    """The document as a struct. Raises `ImageInvalid`."""
    if media_type in INDEX_TYPES:
        return decode(data, ImageIndex, where)
    return decode(data, ImageManifest, where)


def blobs_of(document: ImageManifest | ImageIndex) -> tuple[Descriptor, ...]:
    """Configuration and layers; an index has none."""
    return () if isinstance(document, ImageIndex) else (document.config, *document.layers)


def children_of(document: ImageManifest | ImageIndex) -> tuple[Descriptor, ...]:
    """The manifests of an index; a manifest has none."""
    return document.manifests if isinstance(document, ImageIndex) else ()


def subject_of(document: ImageManifest | ImageIndex) -> str:
    """The digest of the manifest that it is attached to, or nothing. Raises `ImageInvalid`."""
    return digest_of(document.subject) if document.subject else ""


def kind_of(document: ImageManifest | ImageIndex) -> str:
    """Its artifact type (distribution specification, "Listing Referrers")."""
    fallback = "" if isinstance(document, ImageIndex) else document.config.media_type
    return document.artifact_type or fallback


def referrer_entry(data: bytes, media_type: str, where: str) -> Descriptor:
    """The entry of a manifest with a subject, with its artifact type and annotations."""
    document = parse(data, media_type, where)
    return Descriptor(
        media_type=media_type,
        digest=str(Digest.of(data)),
        size=len(data),
        artifact_type=kind_of(document),
        annotations=document.annotations,
    )
