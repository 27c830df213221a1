"""Verification, first part: who has signed the release manifest and the image."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, ImageNotFound, ReferenceInvalid
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.recipe.tags import check_tag, release_tag
from enginecrate.image.transports.archive import Archive
from enginecrate.image.transports.archive_check import archive_faults
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.signatures.attached import FORMATS
from enginecrate.release.tag_check import naming_problem
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import NOT_TRUSTED, Case, Row
from enginecrate.release.verify.report import VerifyOptions
from enginecrate.values import Digest

__all__ = ["examine_reference", "examine_release", "examine_signatures"]


def examine_reference(case: Case) -> None:
    """The name leads to a digest, and in an archive for every program to the same one."""
    with case.row("reference") as row:
        row.good = f"{case.name} is {case.digest}"
        if isinstance(case.place, Archive):
            row.problems += archive_faults(case.place)


def examine_release(case: Case, options: VerifyOptions) -> None:
    """Find the release manifest, and see that it is signed and about this image.

    It is read only when somebody who is trusted has signed it.
    """
    with case.row("release") as row:
        try:
            tag = check_tag(case.release_tag or release_tag(case.version))
            digest = digest_of(case.place.resolve(tag))
            row.problems += _read_signed(case, digest, f"the release manifest {tag}")
        except ImageNotFound:
            words = f"there is no release manifest {tag}: it was removed, or never made with "
            row.problems.append(words + "enginecrate release create")
        except ReferenceInvalid:
            words = "the image names no version, so its release manifest cannot be found; it was "
            row.problems.append(words + "not made by enginecrate image build")
        except EnginecrateError as exc:
            row.problems.append(fault(exc))
        if case.release:
            _examine_identity(case, case.release, tag, row, options)


def examine_signatures(case: Case) -> None:
    """The image itself must be signed in each format that the release promises."""
    with case.row("signatures") as row:
        signers: list[str] = []
        for form in FORMATS:
            judged = case.attached.judge(case.digest, form, case.trust, case.version)
            case.is_trusted |= judged.is_enough
            signers.append(judged.names)
        case.not_unpacked = NOT_TRUSTED
        formats = case.release.signatures if case.release else FORMATS
        row.problems += case.attached.signature_problems(
            case.digest, "the image", formats, case.trust, case.version
        )
        row.good = f"signed by {', '.join(dict.fromkeys(filter(None, signers)))}"


def _read_signed(case: Case, digest: Digest, what: str) -> list[str]:
    """Read the release manifest if enough keys have signed it; else what is wrong.

    Keys may be limited to versions. Which one it is of is only known when it is read, and until
    then the image is believed.
    """
    version = case.version
    if _is_signed(case, digest, version):
        release = read_release(case.place, digest)[1]
        version = release.version
        if _is_signed(case, digest, version):
            case.release, case.release_digest = release, digest
            return []
    return case.attached.signature_problems(digest, what, FORMATS, case.trust, version)


def _is_signed(case: Case, digest: Digest, version: str) -> bool:
    judged = (case.attached.judge(digest, form, case.trust, version) for form in FORMATS)
    return any(one.is_enough for one in judged)


def _examine_identity(
    case: Case, release: ReleaseManifest, tag: str, row: Row, options: VerifyOptions
) -> None:
    """Of a release manifest that is signed: each promised format, and what it is about."""
    digest = case.release_digest or ""
    row.good = f"{tag} ({digest}) is signed and lists this image, of {release.app}"
    row.problems += case.attached.signature_problems(
        Digest(digest), f"the release manifest {tag}", release.signatures, case.trust,
        release.version,
    )  # fmt: skip
    if naming := naming_problem(release, tag, case.name, case.digest):
        row.problems.append(naming)
    for what, found, wanted in (
        ("version", case.version, release.version),
        ("app", case.app, release.app),
    ):
        if found != wanted:
            row.problems.append(
                f"{tag} is the release of the {what} {wanted}, and the image is of the {what} "
                f"{found or 'unknown'}"
            )
    if options.app not in ("", release.app):
        row.problems.append(
            f"this is a release of {release.app}, and {options.app} was asked for: another app "
            "lies under this name"
        )
    if options.release_digest not in ("", digest):
        row.problems.append(
            f"{tag} is {digest}, and {options.release_digest} was asked for: another release "
            "manifest of this version lies here"
        )
