"""Verification of the signatures: on the image, and on the release manifest that lists it."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, ImageNotFound, ReferenceInvalid
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.recipe.tags import check_tag, release_tag
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_check import archive_faults
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.signatures.image_signatures import FORMATS
from enginecrate.release.tag_check import naming_problem
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import NOT_TRUSTED, Section, VerificationContext
from enginecrate.release.verify.report import VerifyOptions
from enginecrate.values import Digest

__all__ = ["examine_reference", "examine_release", "examine_signatures"]


def examine_reference(context: VerificationContext, transport: ImageSource) -> None:
    """The name leads to a digest, and in an archive for every program to the same one.

    Args:
        context: what it leads to.
        transport: where it leads, itself: only an archive has more than one list of images.
    """
    with context.section("reference") as section:
        section.good = f"{context.name} is {context.digest}"
        if isinstance(transport, Archive):
            section.problems += archive_faults(transport)


def examine_release(context: VerificationContext, options: VerifyOptions) -> None:
    """Find the release manifest, and see that it is signed and about this image.

    It is read only when enough trusted keys have signed it.
    """
    with context.section("release") as section:
        try:
            tag = check_tag(context.release_tag or release_tag(context.version))
            digest = digest_of(context.transport.resolve(tag))
            section.problems += _read_signed(context, digest, f"the release manifest {tag}")
        except ImageNotFound:
            words = f"there is no release manifest {tag}: it was removed, or never made with "
            section.problems.append(words + "enginecrate release create")
        except ReferenceInvalid:
            words = "the image names no version, so its release manifest cannot be found; it was "
            section.problems.append(words + "not made by enginecrate image build")
        except EnginecrateError as exc:
            section.problems.append(fault(exc))
        if context.release:
            _examine_identity(context, context.release, tag, section, options)


def examine_signatures(context: VerificationContext) -> None:
    """The image itself must be signed in each format that the release promises."""
    with context.section("signatures") as section:
        signers: list[str] = []
        for form in FORMATS:
            judged = context.signatures.judge(context.digest, form, context.trust, context.version)
            context.is_trusted |= judged.is_enough
            signers.append(judged.names)
        context.not_unpacked = NOT_TRUSTED
        formats = context.release.signatures if context.release else FORMATS
        section.problems += context.signatures.signature_problems(
            context.digest, "the image", formats, context.trust, context.version
        )
        section.good = f"signed by {', '.join(dict.fromkeys(filter(None, signers)))}"


def _read_signed(context: VerificationContext, digest: Digest, what: str) -> list[str]:
    """Read the release manifest if enough keys have signed it; else what is wrong.

    Keys may be limited to versions. Which one it is of is only known when it is read, and until
    then the image is believed.
    """
    version = context.version
    if _is_signed(context, digest, version):
        release = read_release(context.transport, digest)[1]
        version = release.version
        if _is_signed(context, digest, version):
            context.release, context.release_digest = release, digest
            return []
    return context.signatures.signature_problems(digest, what, FORMATS, context.trust, version)


def _is_signed(context: VerificationContext, digest: Digest, version: str) -> bool:
    judged = (context.signatures.judge(digest, form, context.trust, version) for form in FORMATS)
    return any(one.is_enough for one in judged)


def _examine_identity(
    context: VerificationContext,
    release: ReleaseManifest,
    tag: str,
    section: Section,
    options: VerifyOptions,
) -> None:
    """Compare a signed release manifest with the image: formats, names, version and app."""
    digest = context.release_digest or ""
    section.good = f"{tag} ({digest}) is signed and lists this image, of {release.app}"
    section.problems += context.signatures.signature_problems(
        Digest(digest), f"the release manifest {tag}", release.signatures, context.trust,
        release.version,
    )  # fmt: skip
    if naming := naming_problem(release, tag, context.name, context.digest):
        section.problems.append(naming)
    for what, claimed, signed in (
        ("version", context.version, release.version),
        ("app", context.app, release.app),
    ):
        if claimed != signed:
            section.problems.append(
                f"{tag} is the release of the {what} {signed}, and the image is of the {what} "
                f"{claimed or 'unknown'}"
            )
    if options.app not in ("", release.app):
        section.problems.append(
            f"this is a release of {release.app}, and {options.app} was asked for: another app "
            "lies under this name"
        )
    if options.release_digest not in ("", digest):
        section.problems.append(
            f"{tag} is {digest}, and {options.release_digest} was asked for: another release "
            "manifest of this version lies here"
        )
