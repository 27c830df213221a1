"""Which image of a place is meant, when nobody said it or several have tags.

What tags say by their form: which never move, and which are bookkeeping of attachments.
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
    "tags_of",
]

_WHOLE_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:[-_.+].*)?")
_ATTACHMENT = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(\.[a-z]+)?")
_SHARED = re.compile(r"sha256-[0-9a-f]{64}(?:\.sig|\.att)?")


def is_immutable(tag: str) -> bool:
    """Whether a tag names one image for ever: `v1.2.0-ort-cpu`, `1.2.0`; not `v1.2-ort-cpu`."""
    return bool(_WHOLE_VERSION.fullmatch(tag))


def is_attachment_tag(tag: str) -> bool:
    """Whether a tag is bookkeeping of signatures and referrers, and no name for people."""
    return bool(subject_in_tag(tag))


def is_shared_tag(tag: str) -> bool:
    """Whether several people write to a tag: signatures, statements, and lists of referrers.

    Of others that cosign knows (`.sbom`) there is one for all, and a later one replaces it.
    """
    return bool(_SHARED.fullmatch(tag))


def subject_in_tag(tag: str) -> str:
    """The digest that `sha256-<hex>` or `sha256-<hex>.sig` is about; empty: another kind of tag."""
    found = _ATTACHMENT.fullmatch(tag)
    return f"sha256:{found['hex']}" if found else ""


_MOST_TAGS = 20
_IMAGE_CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")


def tag_in(ref_name: str) -> str:
    """The tag in a layout's annotation, where some tools write a whole name."""
    last = ref_name.rpartition("/")[2]
    return last.rpartition(":")[2] if "/" in ref_name or ":" in ref_name else ref_name


def tagged_digests(transport: LayoutReader, tags: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every image of a layout or archive by its digest, with its tags: those of people.

    Args:
        transport: what is asked.
        tags: other tags, for the one image of the place.

    Raises:
        ImageInvalid: no image has a tag, and `tags` names none; or `tags`, and several images.
    """
    found: dict[str, list[str]] = {}
    for one in transport.index().manifests:
        name = one.annotations.get(REF_NAME, "")
        if name and not is_attachment_tag(name):
            found.setdefault(one.digest, []).append(tag_in(name))
    if not tags and found:
        return found
    images = [digest for digest in found or _listed(transport) if _is_image(transport, digest)]
    if len(images) != 1 or not tags:
        raise ImageInvalid(
            f"{transport.name} has {len(images)} images"
            + (": a tag for one of them must say which" if images and tags else " with a tag")
            + f"; its tags: {', '.join(transport.tags()) or 'none'}"
        )
    return {digest: list(tags) if digest == images[0] else names
            for digest, names in (found or {images[0]: []}).items()}  # fmt: skip


def only_image(transport: LayoutReader) -> str:
    """The name of the image, when there is one; its fixed tag rather than one that moves.

    Raises:
        ReferenceInvalid: there are several, or none.
    """
    listed = [
        one
        for one in transport.index().manifests
        if not is_attachment_tag(one.annotations.get(REF_NAME, ""))
        and _is_image(transport, one.digest)
    ]
    digests = {one.digest for one in listed}
    if len(digests) != 1:
        known = ", ".join(tag for tag in transport.tags() if not is_attachment_tag(tag)) or "none"
        raise ReferenceInvalid(
            f"{transport.name} has {len(digests)} images; name one by its tag: "
            f"{transport.name}:TAG (tags: {known})"
        )
    names = [one.annotations[REF_NAME] for one in listed if REF_NAME in one.annotations]
    names.sort(key=lambda name: (not is_immutable(tag_in(name)), name))
    return names[0] if names else digests.pop()


def tags_of(transport: ImageSource, digest: str, candidates: Sequence[str]) -> tuple[str, ...]:
    """Those of the first 20 tags that name an image: each of them is a request to a registry.

    A tag that goes meanwhile, or names something strange, names another one.
    """
    found = []
    for tag in candidates[:_MOST_TAGS]:
        with contextlib.suppress(ImageInvalid, ImageNotFound):
            if transport.resolve(tag).digest == digest:
                found.append(tag)
    return tuple(found)


def _listed(transport: LayoutReader) -> list[str]:
    return list(dict.fromkeys(one.digest for one in transport.index().manifests))


def _is_image(transport: ImageSource | LayoutReader, digest: str) -> bool:
    """Whether it can be run: no signature, SBOM or other artifact."""
    descriptor: Descriptor = transport.resolve(digest)
    data = transport.read_manifest(digest_of(descriptor))
    document = parse(data, descriptor.media_type, f"{digest} in {transport.name}")
    if document.subject is not None or document.artifact_type:
        return False
    return isinstance(document, ImageIndex) or document.config.media_type in _IMAGE_CONFIGS
