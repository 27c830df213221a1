"""Attachments of an image, compared with those that its release manifest lists."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError, ImageNotFound
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.documents.artifacts import decode_artifact, descriptor_of, read_whole
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ListedAttachment, ListedImage
from enginecrate.release.signatures.image_signatures import ImageSignatures
from enginecrate.release.signatures.judgement import judge
from enginecrate.release.signatures.sigstore_bundle import decode_statement
from enginecrate.release.unreachable import fault
from enginecrate.values import Digest

__all__ = ["KIND", "attachment_problems", "read_listed", "statement_problems"]

KIND = "io.enginecrate.kind"
"""Annotation of an attached document: what it is, as the release manifest calls it."""


def attachment_problems(signatures: ImageSignatures, image: ListedImage) -> Iterator[str]:
    """One sentence for each attachment of an image that is missing, or is another document.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: one cannot be reached.
    """
    for listed in image.attachments:
        try:
            problem = _problem(signatures, listed, image)
        except EnginecrateError as exc:
            problem = f"{_title(listed)} cannot be read: {fault(exc)}"
        if problem:
            yield problem


def read_listed(transport: ImageSource, listed: ListedAttachment) -> bytes:
    """The document that is listed. Raises `ImageError`, `ReleaseError`."""
    digest = Digest(listed.manifest)
    manifest = decode_artifact(transport.read_manifest(digest), digest)
    return read_whole(transport, manifest.layers[0])


def statement_problems(
    signatures: ImageSignatures, image: ListedImage, trust: Trust, version: str
) -> Iterator[str]:
    """One sentence for each statement that too few keys signed, or that is about another image.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: one cannot be reached.
    """
    for listed in image.attachments:
        if not listed.predicate_type:
            continue
        try:
            problem = _statement_problem(signatures, image, listed, trust, version)
        except EnginecrateError as exc:
            problem = f"{_title(listed)} cannot be read: {fault(exc)}"
        if problem:
            yield problem


def _problem(signatures: ImageSignatures, listed: ListedAttachment, image: ListedImage) -> str:
    there = signatures.transport.referrers(Digest(listed.subject))
    if all(one.digest != listed.manifest for one in there):
        known = {one.manifest for one in image.attachments}
        others = [
            one.digest
            for one in there
            if one.digest not in known
            and one.artifact_type == listed.artifact_type
            and one.annotations.get(KIND, listed.kind) == listed.kind
        ]
        if others:
            return (
                f"{_title(listed)} was swapped: the signed release lists {listed.manifest}, and "
                f"{', '.join(others)} is attached"
            )
        return (
            f"{_title(listed)} was removed: the signed release lists {listed.manifest}, and it is "
            "not attached any more; copy the release again with all that is attached to it"
        )
    content = read_listed(signatures.transport, listed)
    actual = descriptor_of(content, listed.media_type)
    if (actual.digest, actual.size) != (listed.content, listed.size):
        return (
            f"{_title(listed)} was swapped: the signed release lists the content "
            f"{listed.content}, and {actual.digest} is there"
        )
    return ""


def _statement_problem(
    signatures: ImageSignatures,
    image: ListedImage,
    listed: ListedAttachment,
    trust: Trust,
    version: str,
) -> str:
    title = _title(listed)
    try:
        content = read_listed(signatures.transport, listed)
    except ImageNotFound:
        return f"{title} is missing, so its signature cannot be examined"
    statement = decode_statement(content, title)
    if statement.predicate_type != listed.predicate_type:
        return f"{title} is of the type {statement.predicate_type!r}, not as the release says"
    subjects = {*image.digests, listed.subject}
    if not subjects & set(statement.digests):
        return f"{title} is about {', '.join(statement.digests) or 'nothing'}, not this image"
    bundles, unreadable = signatures.bundles(Digest(listed.subject))
    same = [one for one in bundles if Digest.of(one.payload) == listed.content]
    judged = judge(same, unreadable if not same else (), subjects, trust, version)
    return judged.problem(
        title, f"{title} is not signed: no bundle with it is attached; make the release again"
    )


def _title(listed: ListedAttachment) -> str:
    return f"{listed.kind} of {Digest(listed.subject).short}"
