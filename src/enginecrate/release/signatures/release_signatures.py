"""The signatures that a whole release has already: whoever signs after others relies on them."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import SignatureInvalid
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ReleaseManifest
from enginecrate.release.signatures.attachments import statement_problems
from enginecrate.release.signatures.image_signatures import ImageSignatures
from enginecrate.values import Digest

__all__ = ["check_signatures"]


def check_signatures(
    transport: ImageSource, descriptor: Descriptor, release: ReleaseManifest, trust: Trust
) -> None:
    """Judge the signatures of a release manifest, of all its images and of their statements.

    Raises:
        SignatureInvalid: one of them is not signed by enough keys.
        ReleaseError, ImageError: something cannot be read.
    """
    problems = list(_problems(ImageSignatures(transport), digest_of(descriptor), release, trust))
    if problems:
        raise SignatureInvalid(
            f"{release.tag} ({descriptor.digest}) in {transport.name} is not what the keys given "
            f"have signed, so nothing was signed: {'; '.join(problems)}"
        )


def _problems(
    signatures: ImageSignatures, digest: Digest, release: ReleaseManifest, trust: Trust
) -> Iterator[str]:
    formats, version = release.signatures, release.version
    what = "the release manifest"
    yield from signatures.signature_problems(digest, what, formats, trust, version)
    for image in release.images:
        for named in image.digests:
            what = f"{image.tag} ({named})"
            yield from signatures.signature_problems(Digest(named), what, formats, trust, version)
        yield from statement_problems(signatures, image, trust, version)
