"""VEX statements about a release that is out: attached and signed, and the release stays frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.model import Component, Kind, Sbom, Subject
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.release.content.image import find_release
from enginecrate.release.documents.vex import CYCLONEDX_PREDICATE, OPENVEX_CONTEXT, read_vex
from enginecrate.release.keys.keys import PrivateKey
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ListedImage, ListedPlatform
from enginecrate.release.signatures.attachments import read_listed
from enginecrate.release.signatures.image_signatures import ImageSignatures
from enginecrate.release.signatures.judgement import judge
from enginecrate.release.signatures.release_signatures import check_signatures
from enginecrate.release.signatures.signer import sign_document
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
    transport: ImageTarget, name: str, data: bytes, where: str, keys: Sequence[PrivateKey],
    trust: Trust,
) -> list[AttachedVex]:  # fmt: skip
    """Sign a VEX file, and attach it to the images of a release that it is about.

    Args:
        transport: where the release is.
        name: of an image, for this one alone; or of the release manifest, for all images that hold
            what the file is about.
        data: the file, OpenVEX or CycloneDX.
        where: its name, for messages.
        keys: each one signs.
        trust: whose signatures the release must have.

    Raises:
        SignatureInvalid: the release is not signed by those who are trusted.
        ReleaseInvalid: the file is malformed, or about nothing that is in an image.
        ImageError: the target refuses it.
    """
    descriptor, release = find_release(transport, name)
    check_signatures(transport, descriptor, release, trust)
    named = transport.resolve(name).digest
    images = release.images
    if named != descriptor.digest:
        images = tuple(one for one in images if named in one.digests)
    done: list[AttachedVex] = []
    misfits: list[ReleaseInvalid] = []
    for image in images:
        for platform in image.platforms:
            sbom = _read_sbom(transport, image, platform)
            try:
                made = read_vex(data, sbom, [image.digest], where)
            except ReleaseInvalid as exc:
                misfits.append(exc)
                continue
            subject = transport.resolve(platform.digest)
            with transport.attaching():
                added = sign_document(transport, subject, made.data, made.predicate_type, keys)
            done.append(
                AttachedVex(image.tag, platform.platform, platform.digest, made.digest, added)
            )
    if misfits and not done:
        raise misfits[0]
    return done


def later_statements(
    signatures: ImageSignatures, image: ListedImage, trust: Trust, version: str
) -> Iterator[str]:
    """The VEX statements about an image that its release does not list, as far as they count.

    Others may have attached some, too: only those that enough trusted keys have signed are named.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: they cannot be reached.
    """
    listed = {one.content for one in image.attachments}
    for subject in image.digests:
        bundles, _ = signatures.bundles(Digest(subject))
        extra = [one for one in bundles if _is_vex(one.predicate_type, one.payload)]
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


class _Hash(msgspec.Struct, frozen=True):
    alg: str
    content: str


class _Entry(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""
    purl: str = ""
    ref: str = msgspec.field(default="", name="bom-ref")
    hashes: tuple[_Hash, ...] = ()

    @property
    def sha256(self) -> str:
        return next((one.content for one in self.hashes if one.alg == "SHA-256"), "")


class _Metadata(msgspec.Struct, frozen=True):
    component: _Entry = _Entry()


class _CycloneDx(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    components: tuple[_Entry, ...] = ()


def _read_sbom(transport: ImageSource, image: ListedImage, platform: ListedPlatform) -> Sbom:
    """The names, package URLs and digests of a platform's CycloneDX SBOM; nothing else of it.

    Raises:
        ReleaseInvalid: the release lists none, or it is malformed.
        ImageError: it cannot be read.
    """
    where = f"the SBOM of {platform.platform} of {image.tag}"
    subjects = (platform.digest, image.digest)
    listed = next(
        (one for one in image.attachments
         if one.kind == "sbom-cyclonedx" and one.subject in subjects),
        None,
    )  # fmt: skip
    if listed is None:
        raise ReleaseInvalid(f"the release does not list {where}; make the release again")
    try:
        document = msgspec.json.decode(read_listed(transport, listed), type=_CycloneDx)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not CycloneDX: {exc}; make the release again") from exc
    named = document.metadata.component
    subject = Subject(
        name=named.name or "image",
        version=named.version,
        digest=platform.digest,
        platform=platform.platform,
        created="",
        purl=named.purl,
    )
    components = tuple(
        Component(
            # The kind is in a property, and no VEX statement asks for it.
            kind=Kind.DATA,
            ref=one.ref,
            name=one.name,
            version=one.version,
            purl=one.purl,
            sha256=one.sha256,
        )
        for one in document.components
    )
    return Sbom(subject=subject, components=components, relations=(), licence_texts={})
