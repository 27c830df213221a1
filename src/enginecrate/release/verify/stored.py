"""Verification, second part: every stored byte, and what is attached to the image."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import EnginecrateError
from enginecrate.image.formats.oci import digest_of
from enginecrate.release.content.blobs import attached_problems, layer_problems, read_platform
from enginecrate.release.content.image import OpenedImage, open_platforms
from enginecrate.release.create.later_vex import later_statements
from enginecrate.release.signatures.listing import attachment_problems, statement_problems
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import Case
from enginecrate.values import Progress, no_progress

__all__ = ["examine_attached", "examine_stored"]


def examine_stored(case: Case, progress: Progress = no_progress) -> None:
    """Every byte: layers, configurations, and what is attached.

    Only an image that somebody who is trusted has signed is unpacked.
    """
    if not case.is_trusted:
        case.skip(case.not_unpacked, "blobs")
        return
    with case.row("blobs") as row:
        try:
            case.image = open_platforms(case.place, case.root)
        except EnginecrateError as exc:
            row.problems.append(fault(exc))
            return
        row.collect(_stored_problems(case, case.image, progress))
        total = case.stored.blobs + 2 * len(case.image.platforms)
        row.good = f"{total} blobs are what their digests say"
        if others := case.stored.others:
            row.good += f"; {others} more are attached, which no signed release lists: not read"


def examine_attached(case: Case) -> None:
    """Everything that the release lists is attached, and its statements are signed."""
    release, listed = case.release, case.listed
    if release is None or listed is None:
        case.skip("no signed release manifest lists what belongs here", "attachments", "statements")
        return
    with case.row("attachments") as row:
        row.good = f"all {len(listed.attachments)} are attached, and are what the release lists"
        row.collect(attachment_problems(case.attached, listed))
    with case.row("statements") as row:
        count = sum(bool(one.predicate_type) for one in listed.attachments)
        row.good = f"all {count} are signed and about this image"
        row.collect(statement_problems(case.attached, listed, case.trust, release.version))
        later = list(later_statements(case.attached, listed, case.trust, release.version))
        if later:
            row.good += f"; signed after the release: {'; '.join(later)}"


def _stored_problems(case: Case, image: OpenedImage, progress: Progress) -> Iterator[str]:
    for platform in image.platforms:
        yield from read_platform(case.place, platform, case.stored, progress)
    listed = case.listed or (case.release.tagged(case.name) if case.release else None)
    for platform in image.platforms:
        for one in listed.platforms if listed else ():
            if one.platform == platform.platform:
                yield from layer_problems(platform, one.layers)
    subjects = {case.digest, *(digest_of(one.descriptor) for one in image.platforms)}
    if case.release_digest:
        subjects.add(case.release_digest)
    ours = {one.manifest for one in case.listed.attachments} if case.listed else ()
    yield from attached_problems(case.attached, sorted(subjects), ours, case.stored)
