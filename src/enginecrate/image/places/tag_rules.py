"""What tags say by their form: which never move, and which are bookkeeping of attachments."""

from __future__ import annotations

import re

__all__ = ["is_attachment_tag", "is_immutable", "is_shared_tag", "subject_in_tag"]

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
