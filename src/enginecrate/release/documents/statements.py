"""In-toto statements: who says what about which image. Not signed yet.

Source: in-toto Attestation Framework v1, "Statement" and "ResourceDescriptor".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import encode
from enginecrate.image.sbom.model import Subject
from enginecrate.release.attachments import IN_TOTO, Attachment, AttachmentKind

__all__ = [
    "STATEMENT",
    "TYPES",
    "Resource",
    "Statement",
    "attach_statement",
    "check_time",
    "image_resource",
]

STATEMENT = "https://in-toto.io/Statement/v1"
TYPES = "https://enginecrate.io/attestations"
"""Below it stand our own types of predicates; docs/sbom.md describes each."""


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A thing by its digest: `{"sha256": hex}`, or `{"gitCommit": hex}` for a commit."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    media_type: str = ""
    annotations: dict[str, str] = {}


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`predicate` is said about every `subject`; `predicate_type` says how to read it."""

    type: str = msgspec.field(default=STATEMENT, name="_type")
    subject: tuple[Resource, ...]
    predicate_type: str
    predicate: msgspec.Raw | msgspec.Struct


def image_resource(subject: Subject) -> Resource:
    """An image as the subject of a statement."""
    return Resource(name=subject.name, digest={"sha256": subject.digest.removeprefix("sha256:")})


def attach_statement(
    kind: AttachmentKind,
    subjects: Sequence[Resource],
    predicate_type: str,
    predicate: msgspec.Raw | msgspec.Struct,
) -> Attachment:
    """A statement as a document to sign and attach. The same statement gives the same bytes."""
    statement = Statement(
        subject=tuple(subjects), predicate_type=predicate_type, predicate=predicate
    )
    return Attachment(
        kind=kind,
        artifact_type=IN_TOTO,
        media_type=IN_TOTO,
        data=encode(statement),
        predicate_type=predicate_type,
    )


def check_time(text: str, where: str) -> str:
    """A time of RFC 3339 with its zone, unchanged. Raises `ReleaseInvalid`."""
    cure = "write it as 2026-01-31T12:00:00Z"
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError as exc:
        raise ReleaseInvalid(f"{where}: {text!r} is not a time; {cure}") from exc
    if zone is None:
        raise ReleaseInvalid(f"{where}: {text!r} has no time zone; {cure}")
    return text
