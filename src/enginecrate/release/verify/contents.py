"""Verification of the contents: the files in the image are those that the release lists."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError, VerificationIncomplete
from enginecrate.release.content.files import APP, Contents
from enginecrate.release.content.packages import (
    installed_packages,
    named_packages,
    package_problems,
)
from enginecrate.release.content.plans import find_plans, plan_problems
from enginecrate.release.manifest import ListedAttachment, ListedPlatform, ReleaseManifest
from enginecrate.release.signatures.attachments import read_listed
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import VerificationContext

__all__ = ["examine_contents"]


def examine_contents(context: VerificationContext) -> None:
    """SBOMs name what is there; plans, manifest, lock and golden samples are the release's."""
    if not context.is_trusted:
        context.skip(context.not_unpacked, "sbom", "plans")
        return
    if context.release is None or context.listed is None:
        context.skip(
            "no signed release manifest lists what belongs into the image", "sbom", "plans"
        )
        return
    with context.section("sbom") as section:
        section.good = "names every package that is there, and no others"
        for platform, contents in _each_platform(context):
            section.problems += _sbom_problems(context, platform, contents)
    with context.section("plans") as section:
        plans = sum(len(platform.plans) for platform in context.platforms)
        counted = f"{plans} plan{'' if plans == 1 else 's'}"
        listed = f"{counted}, the manifest and the golden samples"
        if context.release.is_unproven:
            listed = f"{counted} and the manifest"
        section.good = f"{listed} are there"
        for platform, contents in _each_platform(context):
            section.problems += _platform_problems(platform, contents, context.release)


def _each_platform(context: VerificationContext) -> Iterator[tuple[ListedPlatform, Contents]]:
    """The contents of each platform; those that could not be read come last.

    Raises:
        VerificationIncomplete: the layers of one could not be read.
    """
    contents = context.content.contents
    yield from ((one, contents[one.digest]) for one in context.platforms if one.digest in contents)
    unread = [one.platform for one in context.platforms if one.digest not in contents]
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
    expected = {"enginecrate.toml": release.manifest, "enginecrate.lock": release.lock}
    expected |= {one.path: one.digest for one in release.golden}
    for path, digest in expected.items():
        present = contents.files.get(APP + path)
        if digest and present != digest:
            yield (f"{path} in the image is {present or 'missing'}, and the release lists {digest}")


def _sbom_problems(
    context: VerificationContext, platform: ListedPlatform, contents: Contents
) -> list[str]:
    attachments = context.listed.attachments if context.listed else ()
    boms = [one for one in attachments if one.kind.startswith("sbom-")]
    boms = [one for one in boms if one.subject in (platform.digest, context.digest)]
    if not boms:
        return [f"the release lists no SBOM of {platform.platform}; make it again"]
    return [problem for one in boms for problem in _bom_problems(context, one, contents)]


def _bom_problems(
    context: VerificationContext, bom: ListedAttachment, contents: Contents
) -> list[str]:
    try:
        named = named_packages(read_listed(context.transport, bom), bom.kind)
    except EnginecrateError as exc:
        return [f"{bom.kind} cannot be read: {fault(exc)}"]
    return package_problems(bom.kind, named, installed_packages(contents.kept))
