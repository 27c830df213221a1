"""Verification of every stored byte, and of the documents that are attached to the image."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError
from enginecrate.image.formats.oci import digest_of
from enginecrate.release.content.blobs import attached_problems, layer_problems, read_platform
from enginecrate.release.content.image import OpenedImage, open_platforms
from enginecrate.release.create.later_vex import later_statements
from enginecrate.release.signatures.attachments import attachment_problems, statement_problems
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import VerificationContext
from enginecrate.values import Progress, no_progress

__all__ = ["examine_attached", "examine_stored"]


def examine_stored(context: VerificationContext, progress: Progress = no_progress) -> None:
    """Every byte: layers, configurations, and what is attached.

    Only an image that enough trusted keys have signed is unpacked.
    """
    if not context.is_trusted:
        context.skip(context.not_unpacked, "blobs")
        return
    with context.section("blobs") as section:
        try:
            context.image = open_platforms(context.transport, context.root)
        except EnginecrateError as exc:
            section.problems.append(fault(exc))
            return
        section.collect(_stored_problems(context, context.image, progress))
        total = context.content.blobs + 2 * len(context.image.platforms)
        section.good = f"{total} blobs are what their digests say"
        if others := context.content.others:
            section.good += f"; {others} more are attached, which no signed release lists: not read"


def examine_attached(context: VerificationContext) -> None:
    """Everything that the release lists is attached, and its statements are signed."""
    release, listed = context.release, context.listed
    if release is None or listed is None:
        context.skip(
            "no signed release manifest lists what belongs here", "attachments", "statements"
        )
        return
    with context.section("attachments") as section:
        section.good = f"all {len(listed.attachments)} are attached, and are what the release lists"
        section.collect(attachment_problems(context.signatures, listed))
    with context.section("statements") as section:
        count = sum(bool(one.predicate_type) for one in listed.attachments)
        section.good = f"all {count} are signed and about this image"
        section.collect(
            statement_problems(context.signatures, listed, context.trust, release.version)
        )
        later = list(later_statements(context.signatures, listed, context.trust, release.version))
        if later:
            section.good += f"; signed after the release: {'; '.join(later)}"


def _stored_problems(
    context: VerificationContext, image: OpenedImage, progress: Progress
) -> Iterator[str]:
    for platform in image.platforms:
        yield from read_platform(context.transport, platform, context.content, progress)
    listed = context.listed or (context.release.tagged(context.name) if context.release else None)
    for platform in image.platforms:
        for entry in listed.platforms if listed else ():
            if entry.platform == platform.platform:
                yield from layer_problems(platform, entry.layers)
    subjects = {context.digest, *(digest_of(one.descriptor) for one in image.platforms)}
    if context.release_digest:
        subjects.add(context.release_digest)
    ours = {one.manifest for one in context.listed.attachments} if context.listed else ()
    yield from attached_problems(context.signatures, sorted(subjects), ours, context.content)
