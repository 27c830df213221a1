"""The context of a verification: one image, its release manifest, and the rows so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.content.blobs import ContentRecord
from enginecrate.release.content.image import (
    RELEASE_NOTE,
    ImageRoot,
    OpenedImage,
    read_notes,
    read_root,
)
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ListedImage, ListedPlatform, ReleaseManifest
from enginecrate.release.signatures.image_signatures import ImageSignatures
from enginecrate.release.unreachable import UNREACHABLE
from enginecrate.release.verify.report import Check, failed, passed, skipped
from enginecrate.values import Digest

__all__ = ["NOT_TRUSTED", "Section", "VerificationContext", "open_context"]

NOT_TRUSTED = "too few trusted keys have signed the image, so it was not unpacked"
"""The reason in skipped rows that read layers: unsigned archives are not unpacked."""

_VERSION = "org.opencontainers.image.version"
_OURS = "io.enginecrate."


@dataclass(slots=True)
class Section:
    """A row of the report while it is examined. good: its text when there is no problem."""

    problems: list[str] = field(default_factory=list)
    good: str = ""

    def collect(self, problems: Iterable[str]) -> None:
        """Add problems one by one: those before an error of `UNREACHABLE` stay."""
        for problem in problems:
            self.problems.append(problem)


@dataclass(slots=True)
class VerificationContext:
    """An image, its release manifest as far as it was found, and the rows so far.

    app, version, release_tag: as the image says. is_trusted: whether enough keys have signed the
    image, in any format; not_unpacked: why it is not opened otherwise. image: its platforms, once
    enough trusted keys have signed it. release: only one that is signed, so what it says counts.
    """

    transport: ImageSource
    name: str
    trust: Trust
    root: ImageRoot
    app: str
    version: str
    release_tag: str
    signatures: ImageSignatures
    is_trusted: bool = False
    not_unpacked: str = "who has signed the image could not be examined, so it was not unpacked"
    image: OpenedImage | None = None
    content: ContentRecord = field(default_factory=ContentRecord)
    release: ReleaseManifest | None = None
    release_digest: Digest | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def digest(self) -> Digest:
        """The digest of the image that is examined."""
        return digest_of(self.root.descriptor)

    @property
    def listed(self) -> ListedImage | None:
        """The entry of this image in the release manifest."""
        return self.release.image(self.digest) if self.release else None

    @property
    def platforms(self) -> tuple[ListedPlatform, ...]:
        """The listed platforms that are examined: all of them, or the one that was named."""
        listed = self.listed
        if listed is None:
            return ()
        if self.digest == listed.digest:
            return listed.platforms
        return tuple(one for one in listed.platforms if one.digest == self.digest)

    @property
    def all_passed(self) -> bool:
        """True when every row so far has passed."""
        return all(one.status == "passed" for one in self.checks)

    @contextmanager
    def section(self, name: str) -> Iterator[Section]:
        """A row of the report: passed, or one for each problem.

        The block ends where it cannot reach something (`UNREACHABLE`). What it found
        until then is reported, and the rest of the row is skipped.
        """
        section = Section()
        try:
            yield section
        except UNREACHABLE as exc:
            self.checks.extend(failed(name, problem) for problem in section.problems)
            self.skip(f"it could not be examined: {exc}", name)
            return
        rows = [failed(name, problem) for problem in section.problems]
        self.checks.extend(rows or [passed(name, section.good)])

    def skip(self, reason: str, *names: str) -> None:
        """Rows that could not run."""
        self.checks.extend(skipped(name, reason) for name in names)


def open_context(
    transport: ImageSource, name: str, descriptor: Descriptor, trust: Trust
) -> VerificationContext:
    """Open an image as far as is needed to judge who has signed it.

    Raises:
        ImageInvalid, ReleaseInvalid, BlobCorrupt, ImageNotFound: as from `open_image`.
    """
    root = read_root(transport, descriptor)
    if root.is_artifact:
        raise ImageInvalid(
            f"{name} in {transport.name} is an artifact, not an image; name an image"
        )
    notes = (f"{_OURS}app", _VERSION, f"{_OURS}version", RELEASE_NOTE)
    app, version, ours, release_tag = read_notes(transport, root, *notes)
    return VerificationContext(
        transport, name, trust, root, app, version or ours, release_tag, ImageSignatures(transport)
    )
