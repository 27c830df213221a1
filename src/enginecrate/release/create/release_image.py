"""Describe an image for the release manifest, and attach its documents to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.manifest import MANIFEST_NAME, Manifest, parse_manifest
from enginecrate.manifest.golden_samples import GOLDEN_NAME, list_samples
from enginecrate.release.content.blobs import ContentRecord, read_platform
from enginecrate.release.content.files import APP, Contents
from enginecrate.release.content.image import open_image
from enginecrate.release.content.plans import find_plans
from enginecrate.release.documents.artifacts import Attachment, attach
from enginecrate.release.manifest import (
    ListedAttachment,
    ListedFile,
    ListedImage,
    ListedPlatform,
)
from enginecrate.release.signatures.attachments import KIND
from enginecrate.release.tag_check import begins_with_version
from enginecrate.stacks.lock import LOCK_NAME
from enginecrate.values import Digest, Progress

__all__ = ["AppFacts", "ImageDescription", "ReleaseImage", "describe_image"]

_CREATED = "org.opencontainers.image.created"
_STACK = "io.enginecrate.stack"
_PREDICATE = "in-toto.io/predicate-type"


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """An image by its immutable tag, with documents by the digest of what they are about."""

    tag: str
    documents: Mapping[str, Sequence[Attachment]]


@dataclass(frozen=True, slots=True)
class AppFacts:
    """Facts that all images of a release have in common."""

    app: str
    version: str
    manifest: Digest
    lock: str
    golden: tuple[ListedFile, ...]


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """An image as the release manifest lists it."""

    facts: AppFacts
    created: str
    listed: ListedImage


def describe_image(
    transport: ImageTarget, image: ReleaseImage, progress: Progress
) -> ImageDescription:
    """Read an image from end to end, and attach its documents.

    Raises:
        ReleaseInvalid: it is damaged, or none of ours.
        ImageError: it cannot be read, or the target refuses it.
    """
    opened = open_image(transport, transport.resolve(image.tag))
    record = ContentRecord()
    problems = [
        problem
        for platform in opened.platforms
        for problem in read_platform(transport, platform, record, progress)
    ]
    if problems:
        raise ReleaseInvalid(f"{image.tag} is damaged: {'; '.join(problems)}; build it again")
    facts = {_facts(image.tag, one) for one in record.contents.values()}
    if len(facts) != 1:
        raise ReleaseInvalid(f"the platforms of {image.tag} hold different apps; build it again")
    common = facts.pop()
    platforms = tuple(
        ListedPlatform(
            platform=one.platform,
            digest=one.descriptor.digest,
            config=one.manifest.config.digest,
            layers=tuple(layer.digest for layer in one.manifest.layers),
            plans=find_plans(record.contents[one.descriptor.digest]),
        )
        for one in opened.platforms
    )
    listed = ListedImage(
        tag=image.tag,
        aliases=_aliases(transport, image.tag, opened.descriptor.digest, common.version),
        digest=opened.descriptor.digest,
        stack=opened.note(_STACK),
        platforms=platforms,
        attachments=_attach_all(transport, image),
    )
    return ImageDescription(common, opened.note(_CREATED), listed)


def _aliases(transport: ImageSource, own: str, digest: str, version: str) -> tuple[str, ...]:
    """The image's other tags that promise a version; others, such as dates, may name anything."""
    return tuple(
        tag
        for tag in sorted(set(transport.tags()) - {own})
        if begins_with_version(tag, version) and transport.resolve(tag).digest == digest
    )


def _facts(tag: str, contents: Contents) -> AppFacts:
    data = contents.kept.get(APP + MANIFEST_NAME)
    if data is None:
        raise ReleaseInvalid(
            f"{tag} holds no app ({APP}{MANIFEST_NAME}); it was not made by enginecrate image build"
        )
    manifest = _manifest(data, tag)
    return AppFacts(
        app=manifest.app.name,
        version=manifest.app.version,
        manifest=Digest.of(data),
        lock=contents.files.get(APP + LOCK_NAME, ""),
        golden=_golden(contents, manifest.precision.accuracy.golden),
    )


def _golden(contents: Contents, named: str) -> tuple[ListedFile, ...]:
    """`golden.json` and the inputs that it names; nothing when it names none."""
    folder = f"{APP}{named.strip('/')}/"
    inputs = list_samples(contents.kept.get(folder + GOLDEN_NAME, b""))
    paths = {folder + name for name in (GOLDEN_NAME, *inputs)} if inputs else set()
    return tuple(
        ListedFile(path=path[len(APP) :], digest=digest)
        for path, digest in sorted(contents.files.items())
        if path in paths
    )


def _manifest(data: bytes, tag: str) -> Manifest:
    return parse_manifest(data, Path(f"{tag}:/{APP}{MANIFEST_NAME}"))


def _attach_all(transport: ImageTarget, image: ReleaseImage) -> tuple[ListedAttachment, ...]:
    listed = []
    for subject, documents in image.documents.items():
        target = transport.resolve(subject)
        for document in documents:
            notes: dict[str, str] = {KIND: document.kind}
            if document.predicate_type:
                notes[_PREDICATE] = document.predicate_type
            attached = attach(
                transport,
                document.data,
                artifact_type=document.artifact_type,
                media_type=document.media_type,
                subject=target,
                annotations=notes,
            )
            listed.append(
                ListedAttachment(
                    kind=document.kind,
                    artifact_type=document.artifact_type,
                    media_type=document.media_type,
                    predicate_type=document.predicate_type,
                    subject=digest_of(target),
                    manifest=attached.digest,
                    content=document.digest,
                    size=len(document.data),
                )
            )
    return tuple(sorted(listed, key=lambda one: (one.subject, one.kind, one.manifest)))
