"""Documents as OCI artifacts: attached to images, and read back.

Source: OCI Image Format Specification 1.1, manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import (
    EMPTY,
    EMPTY_DATA,
    MANIFEST,
    Descriptor,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import ImageSource, ImageTarget, read_listed
from enginecrate.values import Digest

__all__ = [
    "CYCLONEDX",
    "IN_TOTO",
    "MAX_MANIFEST",
    "SPDX",
    "Attachment",
    "AttachmentKind",
    "attach",
    "decode_artifact",
    "descriptor_of",
    "open_artifact",
    "read_artifact",
    "read_whole",
]

CYCLONEDX = "application/vnd.cyclonedx+json"
"""Registered with IANA; also of a VEX file in CycloneDX."""
SPDX = "application/spdx+json"
"""Registered with IANA."""
IN_TOTO = "application/vnd.in-toto+json"
"""An in-toto statement, and the `payloadType` of the DSSE envelope around it."""
MAX_MANIFEST = 4 << 20
"""Registries accept at least this size (distribution specification, "Pushing Manifests")."""
_MAX_DOCUMENT = 64 << 20
"""Limit on the size of an SBOM, a statement or a bundle around one."""
AttachmentKind = Literal[
    "sbom-cyclonedx",
    "sbom-spdx",
    "provenance",
    "evidence-accuracy",
    "evidence-performance",
    "evidence-boot",
    "vex",
]


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
    def digest(self) -> Digest:
        """The digest of `data`."""
        return Digest.of(self.data)


def attach(
    transport: ImageTarget,
    data: bytes,
    *,
    artifact_type: str,
    media_type: str,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
    tag: str = "",
) -> Descriptor:
    """Store a document as an artifact, attached to `subject` if there is one.

    The same document gives the same artifact.

    Returns:
        The descriptor of the artifact's manifest.

    Raises:
        ImageError: the target refuses it.
    """
    content, empty = descriptor_of(data, media_type), descriptor_of(EMPTY_DATA, EMPTY)
    for descriptor, blob in ((content, data), (empty, EMPTY_DATA)):
        if not transport.has_blob(digest_of(descriptor)):
            transport.write_blob(descriptor, iter((blob,)))
    bare = subject and Descriptor(
        media_type=subject.media_type, digest=subject.digest, size=subject.size
    )
    manifest = ImageManifest(
        artifact_type=artifact_type,
        config=empty,
        layers=(content,),
        subject=bare,
        annotations=dict(annotations or {}),
    )
    return transport.write_manifest(encode(manifest), MANIFEST, [tag] if tag else [])


def read_artifact(transport: ImageSource, descriptor: Descriptor) -> tuple[ImageManifest, bytes]:
    """An artifact's manifest and the content of its one layer.

    Raises:
        ReleaseInvalid: it has not one layer, or is too large.
        ImageInvalid: its manifest is malformed.
        ImageNotFound, BlobCorrupt: it, or its content, is missing or damaged.
    """
    manifest = open_artifact(transport, descriptor)
    return manifest, read_whole(transport, manifest.layers[0])


def open_artifact(transport: ImageSource, descriptor: Descriptor) -> ImageManifest:
    """An artifact's manifest; its content is not read. Raises: as `read_artifact`."""
    if descriptor.size > MAX_MANIFEST:
        raise ReleaseInvalid(f"the manifest {descriptor.digest} is larger than {MAX_MANIFEST} B")
    return decode_artifact(read_listed(transport, descriptor), digest_of(descriptor))


def decode_artifact(data: bytes, digest: Digest) -> ImageManifest:
    """The manifest of an artifact, from its bytes. Raises `ReleaseInvalid`, `ImageInvalid`."""
    if len(data) > MAX_MANIFEST:
        raise ReleaseInvalid(f"the manifest {digest} is larger than {MAX_MANIFEST} B")
    manifest = decode(data, ImageManifest, f"the manifest {digest}")
    if len(manifest.layers) != 1:
        raise ReleaseInvalid(f"the artifact {digest} has {len(manifest.layers)} layers, not 1")
    return manifest


def read_whole(transport: ImageSource, descriptor: Descriptor, limit: int = _MAX_DOCUMENT) -> bytes:
    """A blob in memory. Raises `ReleaseInvalid` above the limit, and what `read_blob` does."""
    if not 0 <= descriptor.size <= limit:
        raise ReleaseInvalid(
            f"{descriptor.digest} has {descriptor.size} bytes, and at most {limit} are read"
        )
    return b"".join(transport.read_blob(descriptor))


def descriptor_of(data: bytes, media_type: str) -> Descriptor:
    """The descriptor of bytes."""
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
