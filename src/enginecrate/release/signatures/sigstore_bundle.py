"""Sigstore bundles: a DSSE envelope with a hint at its key, attached to an image as a referrer.

cosign 3 signs and attests this way. Our bundles name a public key and have neither an entry of a
transparency log nor a time stamp, so they prove who signed, and not when.

Source: sigstore protobuf-specs, sigstore_bundle.proto (v0.3); cosign, specs/BUNDLE_SPEC.md; Dead
Simple Signing _Envelope 1.0.2, protocol.md and envelope.md; in-toto Attestation Framework v1.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import Descriptor, encode
from enginecrate.image.transports.base import ImageTarget
from enginecrate.release.documents.artifacts import IN_TOTO, attach
from enginecrate.release.keys.keys import PrivateKey
from enginecrate.values import Digest

__all__ = [
    "BUNDLE",
    "BUNDLE_FAMILY",
    "SIGN_PREDICATE",
    "Bundle",
    "StatementHead",
    "attach_bundle",
    "decode_bundle",
    "decode_statement",
    "encode_bundle",
    "from_base64",
    "pre_authentication_encoding",
    "sign_statement",
]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_FAMILY = "application/vnd.dev.sigstore.bundle"
"""The artifact types of all versions begin with it."""
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of the statement that says no more than "this image is ours"."""
_STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_CONTENT = "dev.sigstore.bundle.content"
_PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"


class _EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sig`: base64; `keyid` is a hint alone."""

    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`payload`: base64."""

    payload: str
    payload_type: str
    signatures: tuple[_EnvelopeSignature, ...]


class _KeyHint(msgspec.Struct, frozen=True):
    hint: str = ""


class _Material(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    public_key: _KeyHint | None = None


class Bundle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bundle with an envelope; those with a bare signature over a file are not for images."""

    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]
    name: str = ""


class StatementHead(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an in-toto statement that verification reads."""

    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of all subjects, as `sha256:...`."""
        return tuple(f"sha256:{one.digest.get('sha256', '')}" for one in self.subject)


def sign_statement(digest: Digest) -> bytes:
    """The statement that signs an image."""
    document: dict[str, Any] = {
        "_type": _STATEMENT_TYPES[0],
        "predicate": {},
        "predicateType": SIGN_PREDICATE,
        "subject": [{"digest": {"sha256": digest.hex}}],
    }
    return msgspec.json.encode(document, order="sorted")


def encode_bundle(statement: bytes, key: PrivateKey) -> bytes:
    """A bundle around a statement, signed."""
    bundle = Bundle(
        media_type=BUNDLE,
        verification_material=_Material(public_key=_KeyHint(key.public.hint)),
        dsse_envelope=_seal(statement, key),
    )
    return encode(bundle)


def attach_bundle(
    transport: ImageTarget,
    subject: Descriptor,
    statement: bytes,
    predicate_type: str,
    key: PrivateKey,
) -> Descriptor:
    """Sign a statement, and attach it to an image as cosign 3 does."""
    return attach(
        transport,
        encode_bundle(statement, key),
        artifact_type=BUNDLE,
        media_type=BUNDLE,
        subject=subject,
        annotations={_CONTENT: "dsse-envelope", _PREDICATE_TYPE: predicate_type},
    )


def decode_bundle(data: bytes, where: str) -> tuple[Bundle, bytes, bytes]:
    """A bundle with its payload and its signature, both still to be verified.

    Raises:
        ReleaseInvalid: it is not a bundle with one signature on an in-toto statement.
    """
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not a sigstore bundle: {exc}") from exc
    envelope = bundle.dsse_envelope
    if envelope.payload_type != IN_TOTO:
        raise ReleaseInvalid(f"{where} holds {envelope.payload_type!r}, not an in-toto statement")
    if len(envelope.signatures) != 1:
        raise ReleaseInvalid(f"{where} has {len(envelope.signatures)} signatures, not 1")
    payload = from_base64(envelope.payload, f"the payload of {where}")
    return bundle, payload, from_base64(envelope.signatures[0].sig, f"the signature of {where}")


def decode_statement(data: bytes, where: str) -> StatementHead:
    """Raises `ReleaseInvalid` when it is not an in-toto statement."""
    try:
        statement = msgspec.json.decode(data, type=StatementHead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not an in-toto statement: {exc}") from exc
    if statement.type not in _STATEMENT_TYPES:
        raise ReleaseInvalid(f"{where} is of the unknown type {statement.type!r}")
    return statement


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: `PAE(type, body)` of the protocol."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _seal(payload: bytes, key: PrivateKey, payload_type: str = IN_TOTO) -> _Envelope:
    """An envelope with one signature: sigstore bundles take exactly one."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return _Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=payload_type,
        signatures=(_EnvelopeSignature(sig=base64.b64encode(signature).decode()),),
    )


def from_base64(text: str, where: str) -> bytes:
    """Raises `ReleaseInvalid` when it is not base64 in its standard alphabet."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ReleaseInvalid(f"{where} is not base64; sign again") from exc
