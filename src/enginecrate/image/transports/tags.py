"""Tags: kinds of tags by their form, and the tagged images of a transport.

The form of a tag tells that it never moves, or that it is bookkeeping of attachments.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from enginecrate.errors import ImageInvalid, ImageNotFound, ReferenceInvalid
from enginecrate.image.formats.oci import CONFIG, REF_NAME, Descriptor, ImageIndex, digest_of
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.documents import parse
from enginecrate.image.transports.layout_reader import LayoutReader

__all__ = [
    "is_attachment_tag",
    "is_immutable",
    "is_shared_tag",
    "only_image",
    "subject_in_tag",
    "tag_in",
    "tagged_digests",
    "tags_of_digest",
]

_WHOLE_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:[-_.+].*)?")
_ATTACHMENT = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(\.[a-z]+)?")
_SHARED = re.compile(r"sha256-[0-9a-f]{64}(?:\.sig|\.att)?")
_MOST_TAGS = 20
_IMAGE_CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")


def is_immutable(tag: str) -> bool:
    """True if a tag names one image for ever: `v1.2.0-ort-cpu`, `1.2.0`; not `v1.2-ort-cpu`."""
    return bool(_WHOLE_VERSION.fullmatch(tag))


def is_attachment_tag(tag: str) -> bool:
    """True if a tag is bookkeeping of signatures and referrers, and no name for people."""
    return bool(subject_in_tag(tag))


def is_shared_tag(tag: str) -> bool:
    """True if several people write to a tag: signatures, statements, and lists of referrers.

    The others that cosign knows (`.sbom`) are replaced by a later one.
    """
    return bool(_SHARED.fullmatch(tag))


def subject_in_tag(tag: str) -> str:
    """The digest that `sha256-<hex>` or `sha256-<hex>.sig` is about; empty: another kind of tag."""
    match = _ATTACHMENT.fullmatch(tag)
    return f"sha256:{match['hex']}" if match else ""


def tag_in(ref_name: str) -> str:
    """The tag in a layout's annotation, where some tools write a whole name."""
    last = ref_name.rpartition("/")[2]
    return last.rpartition(":")[2] if "/" in ref_name or ":" in ref_name else ref_name


def tagged_digests(transport: LayoutReader, tags: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every image of a layout or archive by its digest, with the tags that are for people.

    Args:
        transport: the layout or archive.
        tags: other tags, when the transport has one image.

    Raises:
        ImageInvalid: no image has a tag, and `tags` names none; or `tags`, and several images.
    """
    tags_by_digest: dict[str, list[str]] = {}
    for entry in transport.index().manifests:
        name = entry.annotations.get(REF_NAME, "")
        if name and not is_attachment_tag(name):
            tags_by_digest.setdefault(entry.digest, []).append(tag_in(name))
    if not tags and tags_by_digest:
        return tags_by_digest
    images = [
        digest for digest in tags_by_digest or _listed(transport) if _is_image(transport, digest)
    ]
    if not images:
        raise ImageNotFound(f"{transport.name} has no image; build one: enginecrate image build")
    if len(images) != 1 or not tags:
        raise ImageInvalid(
            f"{transport.name} has {len(images)} images"
            + (": a tag for one of them must say which" if images and tags else " with a tag")
            + f"; its tags: {', '.join(transport.tags()) or 'none'}"
        )
    return {digest: list(tags) if digest == images[0] else names
            for digest, names in (tags_by_digest or {images[0]: []}).items()}  # fmt: skip


def only_image(transport: LayoutReader) -> str:
    """The name of the image, when there is one; its fixed tag rather than one that moves.

    Raises:
        ImageNotFound: there is none.
        ReferenceInvalid: there are several.
    """
    listed = [
        one
        for one in transport.index().manifests
        if not is_attachment_tag(one.annotations.get(REF_NAME, ""))
        and _is_image(transport, one.digest)
    ]
    digests = {one.digest for one in listed}
    if not digests:
        raise ImageNotFound(f"{transport.name} has no image; build one: enginecrate image build")
    if len(digests) != 1:
        known = ", ".join(tag for tag in transport.tags() if not is_attachment_tag(tag)) or "none"
        raise ReferenceInvalid(
            f"{transport.name} has {len(digests)} images; name one by its tag: "
            f"{transport.name}:TAG (tags: {known})"
        )
    names = [one.annotations[REF_NAME] for one in listed if REF_NAME in one.annotations]
    names.sort(key=lambda name: (not is_immutable(tag_in(name)), name))
    return names[0] if names else digests.pop()


def tags_of_digest(
    transport: ImageSource, digest: str, candidates: Sequence[str]
) -> tuple[str, ...]:
    """Those of the first 20 tags that name an image: each of them is a request to a registry.

    A tag that goes meanwhile, or names something strange, names another one.
    """
    names = []
    for tag in candidates[:_MOST_TAGS]:
        with contextlib.suppress(ImageInvalid, ImageNotFound):
            if transport.resolve(tag).digest == digest:
                names.append(tag)
    return tuple(names)


def _listed(transport: LayoutReader) -> list[str]:
    return list(dict.fromkeys(one.digest for one in transport.index().manifests))


def _is_image(transport: ImageSource | LayoutReader, digest: str) -> bool:
    """True if it can be run: it is no signature, SBOM or other artifact."""
    descriptor: Descriptor = transport.resolve(digest)
    data = transport.read_manifest(digest_of(descriptor))
    document = parse(data, descriptor.media_type, f"{digest} in {transport.name}")
    if document.subject is not None or document.artifact_type:
        return False
    return isinstance(document, ImageIndex) or document.config.media_type in _IMAGE_CONFIGS
