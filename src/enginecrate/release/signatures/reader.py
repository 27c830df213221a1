"""The reader of signatures that lie beside an image; they are not judged here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.errors import EnginecrateError, ReleaseInvalid
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.documents.artifacts import IN_TOTO, open_artifact, read_whole
from enginecrate.release.signatures.cosign import (
    SIGNATURE,
    decode_payload,
    read_signature_layers,
    signature_tag,
)
from enginecrate.release.signatures.sigstore_bundle import (
    BUNDLE_FAMILY,
    decode_bundle,
    decode_statement,
    from_base64,
    pre_authentication_encoding,
)
from enginecrate.release.unreachable import fault
from enginecrate.values import Digest

__all__ = ["MAX_BUNDLES", "MAX_BUNDLE_BYTES", "FoundSignature", "read_bundles", "read_signatures"]

_MAX_PAYLOAD = 64 << 10
"""cosign's have some hundred bytes. There are at most 1,000 beside one image."""
MAX_BUNDLES = 1000
MAX_BUNDLE_BYTES = 64 << 20
"""Limit on the total size of all bundles beside one image: all who may push can attach some."""


@dataclass(frozen=True, slots=True)
class FoundSignature:
    """A signature as it lies there.

    where: for messages. subjects: the digests that the payload says it is for. in_envelope: whether
    the payload is signed in a DSSE envelope. hint: the key's id in base64 as the bundle claims it;
    empty when it claims none.
    """

    where: str
    payload: bytes
    signature: bytes
    subjects: tuple[str, ...]
    in_envelope: bool = False
    predicate_type: str = ""
    hint: str = ""

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        if self.in_envelope:
            return pre_authentication_encoding(IN_TOTO, self.payload)
        return self.payload


def read_signatures(
    transport: ImageSource, digest: Digest
) -> tuple[list[FoundSignature], list[str]]:
    """The signatures under the tag `sha256-<hex>.sig`.

    Returns:
        Those that can be read, and what is wrong with each of the others.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: they cannot be reached.
    """
    try:
        manifest = read_signature_layers(transport, digest)
    except EnginecrateError as exc:
        return [], [fault(exc)]
    if manifest is None:
        return [], []
    signatures: list[FoundSignature] = []
    wrong: list[str] = []
    for number, layer in enumerate(manifest.layers, 1):
        try:
            signatures.append(
                _from_layer(transport, layer, f"signature {number} of {signature_tag(digest)}")
            )
        except EnginecrateError as exc:
            wrong.append(fault(exc))
    return signatures, wrong


def read_bundles(transport: ImageSource, digest: Digest) -> tuple[list[FoundSignature], list[str]]:
    """The sigstore bundles among an image's referrers; returns and raises as `read_signatures`.

    The small ones are read first, so that a large one of another sender hides none.
    """
    try:
        listed = transport.referrers(digest)
    except EnginecrateError as exc:
        return [], [f"the list of what is attached to {digest} cannot be read: {fault(exc)}"]
    contents, wrong = _contents(transport, digest, listed)
    signatures: list[FoundSignature] = []
    left = MAX_BUNDLE_BYTES
    for where, content in contents:
        if content.size > left:
            wrong.append(
                f"the bundles of {digest.short} have more than {MAX_BUNDLE_BYTES:,} bytes; the "
                "largest were not read"
            )
            break
        try:
            signatures.append(_from_bundle(where, read_whole(transport, content, left)))
            left -= content.size
        except EnginecrateError as exc:
            wrong.append(fault(exc))
    return signatures, wrong


def _contents(
    transport: ImageSource, digest: Digest, listed: Sequence[Descriptor]
) -> tuple[list[tuple[str, Descriptor]], list[str]]:
    """Each bundle's name for messages and its content, the smallest first; what is wrong."""
    bundles = [one for one in listed if one.artifact_type.startswith(BUNDLE_FAMILY)]
    contents: list[tuple[str, Descriptor]] = []
    wrong: list[str] = []
    if len(bundles) > MAX_BUNDLES:
        wrong.append(
            f"{digest.short} has {len(bundles)} bundles, and the first {MAX_BUNDLES} were read"
        )
    for descriptor in bundles[:MAX_BUNDLES]:
        try:
            (content,) = open_artifact(transport, descriptor).layers
            contents.append((f"the bundle {digest_of(descriptor).short}", content))
        except EnginecrateError as exc:
            wrong.append(fault(exc))
    return sorted(contents, key=lambda one: one[1].size), wrong


def _from_layer(transport: ImageSource, layer: Descriptor, where: str) -> FoundSignature:
    text = layer.annotations.get(SIGNATURE)
    if text is None:
        raise ReleaseInvalid(f"{where} has no annotation {SIGNATURE}; sign again")
    payload = read_whole(transport, layer, _MAX_PAYLOAD)
    return FoundSignature(
        where=where,
        payload=payload,
        signature=from_base64(text, where),
        subjects=(decode_payload(payload, where),),
    )


def _from_bundle(where: str, data: bytes) -> FoundSignature:
    bundle, payload, signature = decode_bundle(data, where)
    statement = decode_statement(payload, f"what {where} holds")
    hint = bundle.verification_material.public_key
    return FoundSignature(
        where=where,
        payload=payload,
        signature=signature,
        subjects=statement.digests,
        in_envelope=True,
        predicate_type=statement.predicate_type,
        hint=hint.hint if hint else "",
    )
