"""What is attached to an image beside its signature: SBOMs, statements, VEX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from enginecrate.values import Digest

__all__ = [
    "CYCLONEDX",
    "IN_TOTO",
    "KINDS",
    "OPENVEX",
    "SPDX",
    "Attachment",
    "AttachmentKind",
]

CYCLONEDX = "application/vnd.cyclonedx+json"
"""Registered with IANA; also of a VEX file in CycloneDX."""
SPDX = "application/spdx+json"
"""Registered with IANA."""
IN_TOTO = "application/vnd.in-toto+json"
"""An in-toto statement, and the `payloadType` of the DSSE envelope around it."""
OPENVEX = "application/vnd.openvex+json"
"""As vexctl attaches it."""

AttachmentKind = Literal[
    "sbom-cyclonedx",
    "sbom-spdx",
    "provenance",
    "evidence-accuracy",
    "evidence-performance",
    "evidence-boot",
    "vex",
]
KINDS: tuple[AttachmentKind, ...] = get_args(AttachmentKind)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document about one image, not signed yet.

    artifact_type: of the artifact, as a list of referrers shows it. media_type: of `data`.
    predicate_type: of an in-toto statement (`data` is one); empty for other documents.
    """

    kind: AttachmentKind
    artifact_type: str
    media_type: str
    data: bytes
    predicate_type: str = ""

    @property
    def is_statement(self) -> bool:
        """Whether `data` is an in-toto statement, to be signed in a DSSE envelope."""
        return self.media_type == IN_TOTO

    @property
    def digest(self) -> Digest:
        """Of `data`."""
        return Digest.of(self.data)
