"""VEX statements about a release that is out: attached and signed, and the release stays frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.transports.base import WritablePlace
from enginecrate.release.documents.vex import CYCLONEDX_PREDICATE, OPENVEX_CONTEXT, read_vex
from enginecrate.release.earlier import check_signed
from enginecrate.release.finding import find_release
from enginecrate.release.keys.keys import PrivateKey
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.listed_sbom import read_listed_sbom
from enginecrate.release.manifest import ListedImage
from enginecrate.release.signatures.attached import Attached
from enginecrate.release.signatures.judgement import judge
from enginecrate.release.signatures.sign import sign_document
from enginecrate.values import Digest

__all__ = ["AttachedVex", "attach_vex", "later_statements"]


@dataclass(frozen=True, slots=True)
class AttachedVex:
    """One image that a statement was attached to. statement: digest of what is signed."""

    tag: str
    platform: str
    digest: str
    statement: Digest
    signatures: int


def attach_vex(
    place: WritablePlace, name: str, data: bytes, where: str, keys: Sequence[PrivateKey],
    trust: Trust,
) -> list[AttachedVex]:  # fmt: skip
    """Sign a VEX file, and attach it to the images of a release that it is about.

    Args:
        place: where the release is.
        name: of an image, for this one alone; or of the release manifest, for all images that hold
            what the file is about.
        data: the file, OpenVEX or CycloneDX.
        where: its name, for messages.
        keys: each one signs.
        trust: whose signatures the release must have.

    Raises:
        SignatureInvalid: the release is not signed by those who are trusted.
        ReleaseInvalid: the file is malformed, or about nothing that is in an image.
        ImageError: the place refuses.
    """
    descriptor, release = find_release(place, name)
    check_signed(place, descriptor, release, trust)
    named = place.resolve(name).digest
    images = release.images
    if named != descriptor.digest:
        images = tuple(one for one in images if named in one.digests)
    done: list[AttachedVex] = []
    misfits: list[ReleaseInvalid] = []
    for image in images:
        for platform in image.platforms:
            sbom = read_listed_sbom(place, image, platform)
            try:
                made = read_vex(data, sbom, [image.digest], where)
            except ReleaseInvalid as exc:
                misfits.append(exc)
                continue
            subject = place.resolve(platform.digest)
            added = sign_document(place, subject, made.data, made.predicate_type, keys)
            done.append(
                AttachedVex(image.tag, platform.platform, platform.digest, made.digest, added)
            )
    if misfits and not done:
        raise misfits[0]
    return done


def later_statements(
    attached: Attached, image: ListedImage, trust: Trust, version: str
) -> Iterator[str]:
    """The VEX statements about an image that its release does not list, as far as they count.

    Others may have attached some, too: only those that enough trusted keys have signed are named.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: they cannot be looked at.
    """
    listed = {one.content for one in image.attachments}
    for subject in image.digests:
        found, _ = attached.bundles(Digest(subject))
        extra = [one for one in found if _is_vex(one.predicate_type, one.payload)]
        for statement in sorted({Digest.of(one.payload) for one in extra} - listed):
            same = [one for one in extra if Digest.of(one.payload) == statement]
            judged = judge(same, (), image.digests, trust, version)
            if judged.is_enough:
                yield f"VEX statement {statement} about {Digest(subject).short}, by {judged.names}"


def _is_vex(predicate_type: str, payload: bytes) -> bool:
    """In CycloneDX a VEX file and an SBOM have the same predicate type."""
    if predicate_type.startswith(OPENVEX_CONTEXT):
        return True
    if predicate_type != CYCLONEDX_PREDICATE:
        return False
    try:
        return bool(json.loads(payload)["predicate"].get("vulnerabilities"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
