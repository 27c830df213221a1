"""The signer of images, release manifests and statements, in both formats that cosign knows."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import ImageTarget
from enginecrate.release.keys.keys import PrivateKey, PublicKey
from enginecrate.release.signatures.cosign import append_signatures
from enginecrate.release.signatures.reader import FoundSignature, read_bundles, read_signatures
from enginecrate.release.signatures.sigstore_bundle import (
    SIGN_PREDICATE,
    attach_bundle,
    sign_statement,
)

__all__ = ["sign_document", "sign_image"]


def sign_image(
    transport: ImageTarget, image: Descriptor, keys: Sequence[PrivateKey], reference: str
) -> int:
    """Sign an image, an index or an artifact with each key, in both formats.

    What a key has signed already it does not sign again; others' signatures are kept.

    Args:
        transport: where the image is.
        image: what is signed.
        keys: one signature of each.
        reference: the repository that it is published in, for readers that compare it.

    Returns:
        How many signatures were added.

    Raises:
        ReleaseInvalid: the signatures that are there cannot be read.
        ImageError: the target refuses it.
    """
    digest = digest_of(image)
    added = 0
    signatures, _ = read_signatures(transport, digest)
    each = {key.public.pem: key for key in keys}.values()
    missing = [key for key in each if not _has(signatures, key.public, digest)]
    if missing:
        append_signatures(transport, digest, reference, missing)
        added += len(missing)
    for key in keys:
        bundles, _ = read_bundles(transport, digest)
        signed = [one for one in bundles if one.predicate_type == SIGN_PREDICATE]
        if not _has(signed, key.public, digest):
            attach_bundle(transport, image, sign_statement(digest), SIGN_PREDICATE, key)
            added += 1
    return added


def sign_document(
    transport: ImageTarget,
    subject: Descriptor,
    statement: bytes,
    predicate_type: str,
    keys: Sequence[PrivateKey],
) -> int:
    """Sign an in-toto statement about an image with each key; as `sign_image`."""
    bundles, _ = read_bundles(transport, digest_of(subject))
    same = [one for one in bundles if one.payload == statement]
    added = 0
    for key in keys:
        if not any(key.public.verifies(one.signature, one.message) for one in same):
            attach_bundle(transport, subject, statement, predicate_type, key)
            added += 1
    return added


def _has(made: Sequence[FoundSignature], key: PublicKey, digest: str) -> bool:
    return any(digest in one.subjects and key.verifies(one.signature, one.message) for one in made)
