"""Verification, second part: what is inside of the image is what the release says."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError
from enginecrate.release.case import NOT_TRUSTED, Case
from enginecrate.release.contents import APP, Contents
from enginecrate.release.listing import read_listed
from enginecrate.release.manifest import ListedAttachment, ListedPlatform, ReleaseManifest
from enginecrate.release.packages import installed_packages, named_packages, package_problems
from enginecrate.release.plans import find_plans, plan_problems

__all__ = ["examine_contents"]


def examine_contents(case: Case) -> None:
    """SBOMs name what is there; plans, manifest, lock and golden samples are the release's."""
    if not case.is_trusted:
        case.skip(NOT_TRUSTED, "sbom", "plans")
        return
    if case.release is None or case.listed is None:
        case.skip("no release manifest lists what belongs into the image", "sbom", "plans")
        return
    case.add("sbom", _sbom_problems(case), "names every package that is there, and no others")
    problems: list[str] = []
    plans = 0
    for platform in case.platforms:
        contents = case.stored.contents.get(platform.digest)
        if contents is None:
            problems.append(f"{platform.platform} of the release is missing from the image")
            continue
        plans += len(platform.plans)
        problems += _platform_problems(platform, contents, case.release)
    counted = f"{plans} plan{'' if plans == 1 else 's'}"
    case.add("plans", problems, f"{counted}, the manifest and the golden samples are there")


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


def _sbom_problems(case: Case) -> list[str]:
    problems: list[str] = []
    for platform in case.platforms:
        boms = [one for one in _boms(case) if one.subject in (platform.digest, case.digest)]
        if not boms:
            problems.append(f"the release lists no SBOM of {platform.platform}; make it again")
        for one in boms:
            problems += _bom_problems(case, one, platform)
    return problems


def _boms(case: Case) -> list[ListedAttachment]:
    listed = case.listed.attachments if case.listed else ()
    return [one for one in listed if one.kind.startswith("sbom-")]


def _bom_problems(case: Case, bom: ListedAttachment, platform: ListedPlatform) -> list[str]:
    contents = case.stored.contents.get(platform.digest)
    if contents is None:
        return []
    try:
        named = named_packages(read_listed(case.place, bom), bom.kind)
    except EnginecrateError as exc:
        return [f"{bom.kind} cannot be read: {exc}"]
    return package_problems(bom.kind, named, installed_packages(contents.kept))
