"""Signatures in cosign's older format: payloads beside the image, under `sha256-<hex>.sig`.

cosign 2 writes and both versions read it; podman, skopeo and admission controllers read it, too.
Source: cosign, specs/SIGNATURE_SPEC.md; containers/image, docs/containers-signature.5.md.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from enginecrate.errors import ImageNotFound, ReleaseInvalid
from enginecrate.image.formats.oci import (
    CONFIG,
    MANIFEST,
    Descriptor,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import ImageSource, ImageTarget, read_listed
from enginecrate.image.transports.shared_tags import (
    MOST_SIGNATURES,
    SIGNATURE,
    signature_config,
    write_shared,
)
from enginecrate.release.documents.artifacts import MAX_MANIFEST, descriptor_of
from enginecrate.release.keys.keys import PrivateKey
from enginecrate.values import Digest

__all__ = [
    "SIGNATURE",
    "SIMPLE_SIGNING",
    "append_signatures",
    "decode_payload",
    "encode_payload",
    "read_signature_layers",
    "signature_tag",
]

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_TYPE = "cosign container image signature"


class _Identity(msgspec.Struct, frozen=True, rename={"docker_reference": "docker-reference"}):
    docker_reference: str


class _Image(
    msgspec.Struct, frozen=True, rename={"docker_manifest_digest": "docker-manifest-digest"}
):
    docker_manifest_digest: str


class _Critical(msgspec.Struct, frozen=True):
    identity: _Identity
    image: _Image
    type: str


class Payload(msgspec.Struct, frozen=True):
    """Simple signing: who signs what. `optional` may hold anything."""

    critical: _Critical
    optional: object = None


def signature_tag(digest: Digest) -> str:
    """The tag under which the signatures of an image lie."""
    return f"sha256-{digest.hex}.sig"


def encode_payload(digest: Digest, reference: str) -> bytes:
    """The payload that is signed. `reference`: the repository that the image is published in."""
    critical = _Critical(_Identity(reference), _Image(str(digest)), _TYPE)
    return msgspec.json.encode(Payload(critical), order="sorted")


def decode_payload(data: bytes, where: str) -> str:
    """The digest that a payload is for.

    Raises:
        ReleaseInvalid: it is no payload of cosign's.
    """
    try:
        payload = msgspec.json.decode(data, type=Payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not a payload of cosign: {exc}") from exc
    if payload.critical.type != _TYPE:
        raise ReleaseInvalid(f"{where} is of the unknown type {payload.critical.type!r}")
    return payload.critical.image.docker_manifest_digest


def read_signature_layers(transport: ImageSource, digest: Digest) -> ImageManifest | None:
    """The manifest under an image's signature tag; `None` when there is none.

    Raises:
        ReleaseInvalid, ImageInvalid: it is malformed or too large.
        BlobCorrupt: it is damaged.
    """
    try:
        descriptor = transport.resolve(signature_tag(digest))
    except ImageNotFound:
        return None
    where = f"the manifest under {signature_tag(digest)}"
    if descriptor.size > MAX_MANIFEST:
        raise ReleaseInvalid(f"{where} is larger than {MAX_MANIFEST} B")
    manifest = decode(read_listed(transport, descriptor), ImageManifest, where)
    if len(manifest.layers) > MOST_SIGNATURES:
        raise ReleaseInvalid(f"{where} has more than {MOST_SIGNATURES} signatures")
    return manifest


def append_signatures(
    transport: ImageTarget, digest: Digest, reference: str, keys: Sequence[PrivateKey]
) -> Descriptor:
    """Sign an image with each key, and add to the signatures that are there; others' are kept.

    The tag is written once: some registries never overwrite one.
    """
    payload = encode_payload(digest, reference)
    signatures = [base64.b64encode(key.sign(payload)).decode() for key in keys]
    content = descriptor_of(payload, SIMPLE_SIGNING)
    if not transport.has_blob(digest_of(content)):
        transport.write_blob(content, iter((payload,)))
    layers = tuple(
        msgspec.structs.replace(content, annotations={SIGNATURE: one}) for one in signatures
    )
    config = signature_config(layers)
    described = descriptor_of(config, CONFIG)
    if not transport.has_blob(digest_of(described)):
        transport.write_blob(described, iter((config,)))
    manifest = ImageManifest(config=described, layers=layers)
    return write_shared(transport, signature_tag(digest), encode(manifest), MANIFEST)
