"""Make a release of images: attach documents, list everything, and sign it.

The same images and documents give the same release manifest; signatures differ each time. Every
step can be repeated: what is there already is left as it is, so an interrupted run is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate import __version__
from enginecrate.errors import ReleaseInvalid
from enginecrate.image.oci import Descriptor, digest_of
from enginecrate.image.place import Place
from enginecrate.manifest import MANIFEST_NAME, Manifest, parse_manifest
from enginecrate.release.attach import attach
from enginecrate.release.attachments import Attachment
from enginecrate.release.contents import APP, Contents
from enginecrate.release.keys import PrivateKey
from enginecrate.release.listing import KIND, read_listed
from enginecrate.release.manifest import (
    ListedAttachment,
    ListedFile,
    ListedImage,
    ListedPlatform,
    ReleaseManifest,
    write_release,
)
from enginecrate.release.opened import OpenedImage, open_image
from enginecrate.release.plans import find_plans
from enginecrate.release.signing import sign_document, sign_image
from enginecrate.release.stored import read_layers
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["CreatedRelease", "ReleaseImage", "create_release", "find_images", "sign_release"]

_CREATED = "org.opencontainers.image.created"
_VERSION = "io.enginecrate.version"
_STACK = "io.enginecrate.stack"
_PREDICATE = "in-toto.io/predicate-type"
_LOCK = "enginecrate.lock"


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """An image by its immutable tag, with documents by the digest of what they are about."""

    tag: str
    documents: Mapping[str, Sequence[Attachment]]


@dataclass(frozen=True, slots=True)
class CreatedRelease:
    """descriptor: of the release manifest. replaced: the tag named another one before."""

    descriptor: Descriptor
    release: ReleaseManifest
    replaced: bool
    signatures: int


def find_images(place: Place, version: str) -> dict[str, OpenedImage]:
    """The images of a version by their immutable tag, sorted.

    Raises:
        ReleaseInvalid: there is none.
        ImageError: one cannot be read.
    """
    found: dict[str, OpenedImage] = {}
    for tag in sorted(place.tags()):
        if not tag.startswith(f"v{version}-") or tag == f"v{version}-release":
            continue
        image = open_image(place, place.resolve(tag))
        if image.note(_VERSION) == version:
            found[tag] = image
    if not found:
        raise ReleaseInvalid(
            f"{place.name} has no image of version {version}; make one with: "
            "enginecrate image build"
        )
    return found


def create_release(
    place: Place,
    images: Sequence[ReleaseImage],
    keys: Sequence[PrivateKey],
    *,
    reference: str = "",
    progress: Progress = no_progress,
) -> CreatedRelease:
    """Make the release of one version of an app.

    Args:
        place: where the images are, and where everything is written.
        images: of this version, with the documents to attach.
        keys: each one signs everything.
        reference: the repository that the images will be published in.
        progress: counts bytes of layers, then images.

    Raises:
        ReleaseInvalid: an image is damaged, is none of ours, or they are of different releases.
        ImageError: one cannot be read, or the place refuses.
    """
    described = [_describe(place, one, progress) for one in images]
    if len({one.facts for one in described}) != 1:
        listed = ", ".join(image.tag for image in images)
        raise ReleaseInvalid(
            f"{listed} were made from different manifests, locks or golden samples; build all of "
            "them again"
        )
    facts = described[0].facts
    release = ReleaseManifest(
        app=facts.app,
        version=facts.version,
        created=max(one.created for one in described),
        tool=f"enginecrate {__version__}",
        manifest=facts.manifest,
        lock=facts.lock,
        golden=facts.golden,
        images=tuple(sorted((one.listed for one in described), key=lambda one: one.tag)),
    )
    descriptor, replaced = write_release(place, release)
    signatures = sign_release(place, descriptor, release, keys, reference, progress)
    return CreatedRelease(descriptor, release, replaced, signatures)


def sign_release(
    place: Place,
    descriptor: Descriptor,
    release: ReleaseManifest,
    keys: Sequence[PrivateKey],
    reference: str = "",
    progress: Progress = no_progress,
) -> int:
    """Sign a release manifest, its images and their statements with each key.

    What a key has signed already it does not sign again.

    Returns:
        How many signatures were added.

    Raises:
        ReleaseIncomplete, ImageError: something that is listed is missing.
    """
    added = 0
    for number, image in enumerate(release.images):
        progress("sign", number, len(release.images))
        for digest in image.digests:
            added += sign_image(place, place.resolve(digest), keys, reference)
        for listed in image.attachments:
            if listed.predicate_type:
                statement = read_listed(place, listed)
                subject = place.resolve(listed.subject)
                added += sign_document(place, subject, statement, listed.predicate_type, keys)
    # Last of all: a release manifest that is signed has everything that it lists.
    return added + sign_image(place, descriptor, keys, reference)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What all images of a release have in common."""

    app: str
    version: str
    manifest: Digest
    lock: str
    golden: tuple[ListedFile, ...]


@dataclass(frozen=True, slots=True)
class _Described:
    facts: _Facts
    created: str
    listed: ListedImage


def _describe(place: Place, image: ReleaseImage, progress: Progress) -> _Described:
    opened = open_image(place, place.resolve(image.tag))
    stored = read_layers(place, opened, progress)
    if stored.problems:
        raise ReleaseInvalid(
            f"{image.tag} is damaged: {'; '.join(stored.problems)}; build it again"
        )
    facts = {_facts(image.tag, one) for one in stored.contents.values()}
    if len(facts) != 1:
        raise ReleaseInvalid(f"the platforms of {image.tag} hold different apps; build it again")
    platforms = tuple(
        ListedPlatform(
            platform=one.platform,
            digest=one.descriptor.digest,
            config=one.manifest.config.digest,
            layers=tuple(layer.digest for layer in one.manifest.layers),
            plans=find_plans(stored.contents[one.descriptor.digest]),
        )
        for one in opened.platforms
    )
    listed = ListedImage(
        tag=image.tag,
        digest=opened.descriptor.digest,
        stack=opened.note(_STACK),
        platforms=platforms,
        attachments=_attach_all(place, image),
    )
    return _Described(facts.pop(), opened.note(_CREATED), listed)


def _facts(tag: str, contents: Contents) -> _Facts:
    data = contents.kept.get(APP + MANIFEST_NAME)
    if data is None:
        raise ReleaseInvalid(
            f"{tag} holds no app ({APP}{MANIFEST_NAME}); it was not made by enginecrate image build"
        )
    manifest = _manifest(data, tag)
    folder = f"{APP}{manifest.precision.accuracy.golden.strip('/')}/"
    golden = tuple(
        ListedFile(path=path[len(APP) :], digest=digest)
        for path, digest in sorted(contents.files.items())
        if path.startswith(folder)
    )
    return _Facts(
        app=manifest.app.name,
        version=manifest.app.version,
        manifest=Digest.of(data),
        lock=contents.files.get(APP + _LOCK, ""),
        golden=golden,
    )


def _manifest(data: bytes, tag: str) -> Manifest:

    return parse_manifest(data, Path(f"{tag}:/{APP}{MANIFEST_NAME}"))


def _attach_all(place: Place, image: ReleaseImage) -> tuple[ListedAttachment, ...]:
    listed = []
    for subject, documents in image.documents.items():
        target = place.resolve(subject)
        for document in documents:
            notes: dict[str, str] = {KIND: document.kind}
            if document.predicate_type:
                notes[_PREDICATE] = document.predicate_type
            attached = attach(
                place,
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
