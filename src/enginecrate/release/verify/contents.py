"""Verification, third part: what is inside of the image is what the release says."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError, VerificationIncomplete
from enginecrate.release.content.packages import (
    installed_packages,
    named_packages,
    package_problems,
)
from enginecrate.release.content.plans import find_plans, plan_problems
from enginecrate.release.content.unpacked import APP, Contents
from enginecrate.release.manifest import ListedAttachment, ListedPlatform, ReleaseManifest
from enginecrate.release.signatures.listing import read_listed
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import Case

__all__ = ["examine_contents"]


def examine_contents(case: Case) -> None:
    """SBOMs name what is there; plans, manifest, lock and golden samples are the release's."""
    if not case.is_trusted:
        case.skip(case.not_unpacked, "sbom", "plans")
        return
    if case.release is None or case.listed is None:
        case.skip("no signed release manifest lists what belongs into the image", "sbom", "plans")
        return
    with case.row("sbom") as row:
        row.good = "names every package that is there, and no others"
        for platform, contents in _each_platform(case):
            row.problems += _sbom_problems(case, platform, contents)
    with case.row("plans") as row:
        plans = sum(len(platform.plans) for platform in case.platforms)
        counted = f"{plans} plan{'' if plans == 1 else 's'}"
        row.good = f"{counted}, the manifest and the golden samples are there"
        for platform, contents in _each_platform(case):
            row.problems += _platform_problems(platform, contents, case.release)


def _each_platform(case: Case) -> Iterator[tuple[ListedPlatform, Contents]]:
    """What is in each platform; those that could not be read come last.

    Raises:
        VerificationIncomplete: the layers of one could not be read.
    """
    found = case.stored.contents
    yield from ((one, found[one.digest]) for one in case.platforms if one.digest in found)
    unread = [one.platform for one in case.platforms if one.digest not in found]
    if unread:
        raise VerificationIncomplete(
            f"the layers of {', '.join(unread)} could not be read; see the row blobs"
        )


def _platform_problems(
    platform: ListedPlatform, contents: Contents, release: ReleaseManifest
) -> Iterator[str]:
    try:
        yield from plan_problems(platform.platform, find_plans(contents), platform.plans)
    except EnginecrateError as exc:
        yield str(exc)
    wanted = {"enginecrate.toml": release.manifest, "enginecrate.lock": release.lock}
    wanted |= {one.path: one.digest for one in release.golden}
    for path, digest in wanted.items():
        found = contents.files.get(APP + path)
        if digest and found != digest:
            yield (f"{path} in the image is {found or 'missing'}, and the release lists {digest}")


def _sbom_problems(case: Case, platform: ListedPlatform, contents: Contents) -> list[str]:
    attachments = case.listed.attachments if case.listed else ()
    boms = [one for one in attachments if one.kind.startswith("sbom-")]
    boms = [one for one in boms if one.subject in (platform.digest, case.digest)]
    if not boms:
        return [f"the release lists no SBOM of {platform.platform}; make it again"]
    return [problem for one in boms for problem in _bom_problems(case, one, contents)]


def _bom_problems(case: Case, bom: ListedAttachment, contents: Contents) -> list[str]:
    try:
        named = named_packages(read_listed(case.place, bom), bom.kind)
    except EnginecrateError as exc:
        return [f"{bom.kind} cannot be read: {fault(exc)}"]
    return package_problems(bom.kind, named, installed_packages(contents.kept))
