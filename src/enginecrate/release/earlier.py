"""Whether those who signed a release before have done so: who signs after them relies on it."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import SignatureInvalid
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import Place
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ReleaseManifest
from enginecrate.release.signatures.attached import Attached
from enginecrate.release.signatures.listing import statement_problems
from enginecrate.values import Digest

__all__ = ["check_signed"]


def check_signed(
    place: Place, descriptor: Descriptor, release: ReleaseManifest, trust: Trust
) -> None:
    """Judge the signatures of a release manifest, of all its images and of their statements.

    Raises:
        SignatureInvalid: one of them is not signed by enough keys.
        ReleaseError, ImageError: something cannot be read.
    """
    problems = list(_problems(Attached(place), digest_of(descriptor), release, trust))
    if problems:
        raise SignatureInvalid(
            f"{release.tag} ({descriptor.digest}) in {place.name} is not what the keys given have "
            f"signed, so nothing was signed: {'; '.join(problems)}"
        )


def _problems(
    attached: Attached, digest: Digest, release: ReleaseManifest, trust: Trust
) -> Iterator[str]:
    formats, version = release.signatures, release.version
    what = "the release manifest"
    yield from attached.signature_problems(digest, what, formats, trust, version)
    for image in release.images:
        for one in image.digests:
            what = f"{image.tag} ({one})"
            yield from attached.signature_problems(Digest(one), what, formats, trust, version)
        yield from statement_problems(attached, image, trust, version)
