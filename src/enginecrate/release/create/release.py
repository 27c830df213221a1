"""Make a release of images: attach documents, list everything, and sign it.

The same images and documents give the same release manifest; signatures differ each time. Every
step can be repeated: what is there already is left as it is, so an interrupted run is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.release.content.image import OpenedImage, open_platforms, read_root
from enginecrate.release.create.release_image import ReleaseImage, describe_image
from enginecrate.release.keys.keys import PrivateKey
from enginecrate.release.manifest import (
    ReleaseManifest,
    write_release,
)
from enginecrate.release.signatures.attachments import read_listed
from enginecrate.release.signatures.signer import sign_document, sign_image
from enginecrate.values import Progress, no_progress
from enginecrate.version import __version__

__all__ = ["CreatedRelease", "create_release", "find_images", "sign_release"]

_VERSION = "io.enginecrate.version"


@dataclass(frozen=True, slots=True)
class CreatedRelease:
    """descriptor: of the release manifest. replaced: the tag named another one before."""

    descriptor: Descriptor
    release: ReleaseManifest
    replaced: bool
    signatures: int


def find_images(transport: ImageSource, version: str) -> dict[str, OpenedImage]:
    """The images of a version by their immutable tag, sorted; release manifests are none.

    Raises:
        ReleaseInvalid: there is none.
        ImageError: one cannot be read.
    """
    images: dict[str, OpenedImage] = {}
    for tag in sorted(transport.tags()):
        if not tag.startswith(f"v{version}-"):
            continue
        root = read_root(transport, transport.resolve(tag))
        if root.is_artifact:
            continue
        image = open_platforms(transport, root)
        if image.note(_VERSION) == version:
            images[tag] = image
    if not images:
        raise ReleaseInvalid(
            f"{transport.name} has no image of version {version}; make one with: "
            "enginecrate image build"
        )
    return images


def create_release(
    transport: ImageTarget,
    images: Sequence[ReleaseImage],
    keys: Sequence[PrivateKey],
    *,
    reference: str = "",
    progress: Progress = no_progress,
) -> CreatedRelease:
    """Make the release of one version of an app.

    Args:
        transport: where the images are, and where everything is written.
        images: of this version, with the documents to attach.
        keys: each one signs everything.
        reference: the repository that the images will be published in.
        progress: counts bytes of layers, then images.

    Raises:
        ReleaseInvalid: an image is damaged, is none of ours, or they are of different releases.
        ImageError: one cannot be read, or the target refuses it.
    """
    with transport.attaching():
        return _create(transport, images, keys, reference, progress)


def _create(
    transport: ImageTarget,
    images: Sequence[ReleaseImage],
    keys: Sequence[PrivateKey],
    reference: str,
    progress: Progress,
) -> CreatedRelease:
    described = [describe_image(transport, one, progress) for one in images]
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
    descriptor, replaced = write_release(transport, release)
    signatures = _sign(transport, descriptor, release, keys, reference, progress)
    return CreatedRelease(descriptor, release, replaced, signatures)


def sign_release(
    transport: ImageTarget,
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
    with transport.attaching():
        return _sign(transport, descriptor, release, keys, reference, progress)


def _sign(
    transport: ImageTarget,
    descriptor: Descriptor,
    release: ReleaseManifest,
    keys: Sequence[PrivateKey],
    reference: str,
    progress: Progress,
) -> int:
    added = 0
    for number, image in enumerate(release.images):
        progress("sign", number, len(release.images))
        for digest in image.digests:
            added += sign_image(transport, transport.resolve(digest), keys, reference)
        for listed in image.attachments:
            if listed.predicate_type:
                statement = read_listed(transport, listed)
                subject = transport.resolve(listed.subject)
                added += sign_document(transport, subject, statement, listed.predicate_type, keys)
    # Last of all: a release manifest that is signed has everything that it lists.
    return added + sign_image(transport, descriptor, keys, reference)
