"""DSSE envelopes: a signature over a payload together with its type.

Source: Dead Simple Signing Envelope, version 1.0.2 (protocol.md, envelope.md).
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.release.attachments import IN_TOTO
from enginecrate.release.keys.keys import PrivateKey

__all__ = ["Envelope", "EnvelopeSignature", "from_base64", "pre_authentication_encoding", "seal"]


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`sig`: base64; `keyid` is a hint alone."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`payload`: base64."""

    payload: str
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: `PAE(type, body)` of the protocol."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: PrivateKey, payload_type: str = IN_TOTO) -> Envelope:
    """An envelope with one signature: sigstore bundles take exactly one."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=payload_type,
        signatures=(EnvelopeSignature(sig=base64.b64encode(signature).decode()),),
    )


def from_base64(text: str, where: str) -> bytes:
    """Raises `ReleaseInvalid` when it is not base64 in its standard alphabet."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ReleaseInvalid(f"{where} is not base64; sign again") from exc
