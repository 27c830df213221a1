"""The signatures that lie beside an image, read and not yet believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enginecrate.errors import EnginecrateError, ReleaseInvalid
from enginecrate.image.oci import Descriptor, digest_of
from enginecrate.image.places.place import Place
from enginecrate.release.attach import read_artifact, read_whole
from enginecrate.release.attachments import IN_TOTO
from enginecrate.release.bundles import (
    BUNDLE_FAMILY,
    decode_bundle,
    decode_statement,
)
from enginecrate.release.cosign import (
    SIGNATURE,
    decode_payload,
    read_signature_layers,
    signature_tag,
)
from enginecrate.release.dsse import from_base64, pre_authentication_encoding
from enginecrate.values import Digest

__all__ = ["Found", "read_bundles", "read_signatures"]

_MAX_PAYLOAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A signature as it lies there.

    where: for messages. message: what the signature is on. subjects: the digests that the payload
    says it is for. hint: the key's id in base64 as the bundle claims it; empty when it claims none.
    """

    where: str
    payload: bytes
    message: bytes
    signature: bytes
    subjects: tuple[str, ...]
    predicate_type: str = ""
    hint: str = ""


def read_signatures(place: Place, digest: Digest) -> tuple[list[Found], list[str]]:
    """The signatures under the tag `sha256-<hex>.sig`.

    Returns:
        Those that can be read, and what is wrong with each of the others.
    """
    try:
        manifest = read_signature_layers(place, digest)
    except EnginecrateError as exc:
        return [], [str(exc)]
    if manifest is None:
        return [], []
    found: list[Found] = []
    wrong: list[str] = []
    for number, layer in enumerate(manifest.layers, 1):
        try:
            found.append(
                _from_layer(place, layer, f"signature {number} of {signature_tag(digest)}")
            )
        except EnginecrateError as exc:
            wrong.append(str(exc))
    return found, wrong


def read_bundles(place: Place, digest: Digest) -> tuple[list[Found], list[str]]:
    """The sigstore bundles among an image's referrers; returns as `read_signatures`."""
    found: list[Found] = []
    wrong: list[str] = []
    try:
        listed = list(_bundles(place, digest))
    except EnginecrateError as exc:
        return [], [f"the list of what is attached to {digest} cannot be read: {exc}"]
    for descriptor in listed:
        try:
            found.append(_from_bundle(place, descriptor))
        except EnginecrateError as exc:
            wrong.append(str(exc))
    return found, wrong


def _bundles(place: Place, digest: Digest) -> Iterator[Descriptor]:
    for one in place.referrers(digest):
        if one.artifact_type.startswith(BUNDLE_FAMILY):
            yield one


def _from_layer(place: Place, layer: Descriptor, where: str) -> Found:
    text = layer.annotations.get(SIGNATURE)
    if text is None:
        raise ReleaseInvalid(f"{where} has no annotation {SIGNATURE}; sign again")
    payload = read_whole(place, layer, _MAX_PAYLOAD)
    return Found(
        where=where,
        payload=payload,
        message=payload,
        signature=from_base64(text, where),
        subjects=(decode_payload(payload, where),),
    )


def _from_bundle(place: Place, descriptor: Descriptor) -> Found:
    where = f"the bundle {digest_of(descriptor).short}"
    _, data = read_artifact(place, descriptor)
    bundle, payload, signature = decode_bundle(data, where)
    statement = decode_statement(payload, f"what {where} holds")
    hint = bundle.verification_material.public_key
    return Found(
        where=where,
        payload=payload,
        message=pre_authentication_encoding(IN_TOTO, payload),
        signature=signature,
        subjects=statement.digests,
        predicate_type=statement.predicate_type,
        hint=hint.hint if hint else "",
    )
