"""What of a layout is still in use: what its tags lead to, and what is attached to that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from enginecrate.errors import ImageNotFound
from enginecrate.image.formats.oci import REF_NAME, Descriptor, digest_of
from enginecrate.image.places.tag_rules import subject_in_tag
from enginecrate.image.transports.documents import (
    blobs_of,
    children_of,
    media_type_of,
    parse,
    subject_of,
)
from enginecrate.image.transports.layout_reader import LayoutReading
from enginecrate.values import Digest

__all__ = ["in_use", "led_to"]


def in_use(place: LayoutReading) -> tuple[list[Descriptor], set[Digest]]:
    """The entries of the index that are in use, and every blob that they lead to.

    Attachments are in use while their subject is: SBOMs and signatures of an image whose tag has
    moved to another one go with it.

    Raises:
        ImageInvalid, BlobCorrupt: a manifest cannot be read, so nobody knows what it needs.
    """
    listed = place.index().manifests
    subjects = [_subject(place, one) for one in listed]
    kept = [not subject for subject in subjects]
    found = led_to(place, (one for one, keep in zip(listed, kept, strict=True) if keep))
    waiting = True
    while waiting:  # attachments may have attachments
        waiting = False
        for number, subject in enumerate(subjects):
            if not kept[number] and subject in found:
                kept[number] = waiting = True
                found |= led_to(place, [listed[number]])
    return [one for one, keep in zip(listed, kept, strict=True) if keep], found


def _subject(place: LayoutReading, one: Descriptor) -> str:
    """The digest of what an entry is attached to; empty: it stands for itself."""
    tag = one.annotations.get(REF_NAME, "")
    if tag:
        return subject_in_tag(tag)
    with contextlib.suppress(ImageNotFound):
        data = place.read_manifest(digest_of(one))
        return subject_of(parse(data, one.media_type, f"{one.digest} in {place.name}"))
    return ""


def led_to(place: LayoutReading, roots: Iterable[Descriptor]) -> set[Digest]:
    """Manifests and blobs that are reached from `roots`; manifests that are gone lead nowhere."""
    found: set[Digest] = set()
    waiting = [digest_of(one) for one in roots]
    while waiting:
        digest = waiting.pop()
        if digest in found:
            continue
        try:
            data = place.read_manifest(digest)
        except ImageNotFound:
            continue
        found.add(digest)
        where = f"{digest} in {place.name}"
        document = parse(data, media_type_of(data, where), where)
        found |= {digest_of(one) for one in blobs_of(document)}
        waiting += [digest_of(one) for one in children_of(document)]
    return found
