"""Verification, first part: release manifest, signatures, stored bytes, attachments."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, ImageNotFound, ReferenceInvalid
from enginecrate.image.oci import digest_of
from enginecrate.image.recipe.tags import release_tag
from enginecrate.release.bundles import SIGN_PREDICATE
from enginecrate.release.case import NOT_TRUSTED, Case
from enginecrate.release.checks import failed
from enginecrate.release.found import read_bundles, read_signatures
from enginecrate.release.judging import Judgement, judge
from enginecrate.release.listing import attachment_problems, statement_problems
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.naming import naming_problem
from enginecrate.release.stored import layer_problems, read_everything, read_layers
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["examine_attached", "examine_release", "examine_signatures", "examine_stored"]

_FORMATS = {
    "cosign": "under the tag sha256-<hex>.sig",
    "bundle": "as a sigstore bundle",
}


def examine_release(case: Case) -> None:
    """Find the release manifest, and see that it is signed and about this image."""
    tag = case.release_tag
    try:
        tag = tag or release_tag(case.version)
        descriptor, release = read_release(case.place, tag)
    except ImageNotFound:
        words = f"there is no release manifest {tag}: it was removed, or never made with "
        case.checks.append(failed("release", words + "enginecrate release create"))
        return
    except ReferenceInvalid:
        words = "the image names no version, so its release manifest cannot be found; it was not "
        case.checks.append(failed("release", words + "made by enginecrate image build"))
        return
    except EnginecrateError as exc:
        case.checks.append(failed("release", str(exc)))
        return
    digest = digest_of(descriptor)
    case.release, case.release_digest = release, digest
    what = f"the release manifest {tag}"
    problems = [
        *_signature_problems(case, digest, what, release.version),
        *_identity_problems(case, release, tag),
    ]
    case.add("release", problems, f"{tag} is signed and lists this image, of {release.app}")


def examine_signatures(case: Case) -> None:
    """The image itself must be signed in each format that the release promises."""
    problems = _signature_problems(case, case.digest, "the image", case.version)
    judged = [_judge(case, case.digest, form, case.version) for form in _FORMATS]
    case.is_trusted = any(one.is_enough for one in judged)
    signers = ", ".join(dict.fromkeys(one.names for one in judged if one.names))
    case.add("signatures", problems, f"signed by {signers}")


def examine_stored(case: Case, progress: Progress = no_progress) -> None:
    """Every byte: layers, configurations, and what is attached.

    Only an image that somebody who is trusted has signed is unpacked.
    """
    if not case.is_trusted:
        case.skip(NOT_TRUSTED, "blobs")
        return
    case.stored = read_layers(case.place, case.image, progress)
    subjects = {case.digest, *(digest_of(one.descriptor) for one in case.image.platforms)}
    if case.release_digest:
        subjects.add(case.release_digest)
    count, attached = read_everything(case.place, sorted(subjects))
    problems = [*case.stored.problems, *attached]
    listed = case.listed or (case.release.tagged(case.name) if case.release else None)
    for platform in case.image.platforms:
        for one in listed.platforms if listed else ():
            if one.platform == platform.platform:
                problems += layer_problems(platform, one.layers)
    total = case.stored.blobs + count + 2 * len(case.image.platforms)
    case.add("blobs", problems, f"{total} blobs are what their digests say")


def examine_attached(case: Case) -> None:
    """Everything that the release lists is attached, and its statements are signed."""
    listed = case.listed
    if case.release is None or listed is None:
        case.skip("no release manifest lists what belongs here", "attachments", "statements")
        return
    count = len(listed.attachments)
    case.add(
        "attachments",
        attachment_problems(case.place, listed),
        f"all {count} are attached, and are what the release lists",
    )
    statements = sum(bool(one.predicate_type) for one in listed.attachments)
    case.add(
        "statements",
        statement_problems(case.place, listed, case.trust, case.release.version),
        f"all {statements} are signed and about this image",
    )


def _identity_problems(case: Case, release: ReleaseManifest, tag: str) -> list[str]:
    naming = naming_problem(release, tag, case.name, case.digest)
    problems = [naming] if naming else []
    for what, found, wanted in (
        ("version", case.version, release.version),
        ("app", case.app, release.app),
    ):
        if found != wanted:
            problems.append(
                f"{tag} is the release of the {what} {wanted}, and the image is of the {what} "
                f"{found or 'unknown'}"
            )
    if case.wanted_app not in ("", release.app):
        problems.append(
            f"this is a release of {release.app}, and {case.wanted_app} was asked for: another app "
            "lies under this name"
        )
    return problems


def _signature_problems(case: Case, digest: Digest, what: str, version: str) -> list[str]:
    """Each format that the release promises must have enough signers."""
    problems = []
    for form in case.release.signatures if case.release else tuple(_FORMATS):
        nothing = f"{what} is not signed: there is no signature {_FORMATS[form]}"
        if problem := _judge(case, digest, form, version).problem(what, nothing):
            problems.append(problem)
    return problems


def _judge(case: Case, digest: Digest, form: str, version: str) -> Judgement:
    if form == "cosign":
        found, unreadable = read_signatures(case.place, digest)
    else:
        every, unreadable = read_bundles(case.place, digest)
        found = [one for one in every if one.predicate_type == SIGN_PREDICATE]
    return judge(found, unreadable, {digest}, case.trust, version)
