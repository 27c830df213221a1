"""One image under examination: what every part of verification looks at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from enginecrate.image.oci import digest_of
from enginecrate.image.places.place import Place
from enginecrate.release.checks import Check, failed, passed, skipped
from enginecrate.release.manifest import ListedImage, ListedPlatform, ReleaseManifest
from enginecrate.release.opened import OpenedImage
from enginecrate.release.stored import Stored
from enginecrate.release.trust import Trust
from enginecrate.values import Digest

__all__ = ["NOT_TRUSTED", "Case"]

NOT_TRUSTED = "nobody who is trusted has signed the image, so it was not unpacked"
"""Why rows are skipped that read the layers: archives of strangers are not opened."""

_VERSION = "org.opencontainers.image.version"
_OURS = "io.enginecrate."


@dataclass(slots=True)
class Case:
    """An image, its release manifest as far as it was found, and the rows so far.

    wanted_app: that the image must be of; empty: any. is_trusted: whether enough keys have signed
    the image, in any format.
    """

    place: Place
    name: str
    trust: Trust
    image: OpenedImage
    wanted_app: str = ""
    is_trusted: bool = False
    stored: Stored = field(default_factory=Stored)
    release: ReleaseManifest | None = None
    release_digest: Digest | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def digest(self) -> Digest:
        """Of the image that is examined."""
        return digest_of(self.image.descriptor)

    @property
    def version(self) -> str:
        """Of the app, as the image says."""
        return self.image.note(_VERSION) or self.image.note(f"{_OURS}version")

    @property
    def app(self) -> str:
        """The app's name, as the image says."""
        return self.image.note(f"{_OURS}app")

    @property
    def release_tag(self) -> str:
        """Of its release manifest, as the image says; empty when it does not."""
        return self.image.note(f"{_OURS}release")

    @property
    def listed(self) -> ListedImage | None:
        """What the release manifest says about this image."""
        return self.release.image(self.digest) if self.release else None

    @property
    def platforms(self) -> tuple[ListedPlatform, ...]:
        """Those that the release lists and that are examined: all, or the one that was named."""
        listed = self.listed
        if listed is None:
            return ()
        if self.digest == listed.digest:
            return listed.platforms
        return tuple(one for one in listed.platforms if one.digest == self.digest)

    @property
    def has_failed(self) -> bool:
        """Whether any row so far has."""
        return any(one.status == "failed" for one in self.checks)

    def add(self, name: str, problems: Iterable[str], good: str) -> None:
        """One row that passed, or one for each problem."""
        rows = [failed(name, problem) for problem in problems]
        self.checks.extend(rows or [passed(name, good)])

    def skip(self, reason: str, *names: str) -> None:
        """Rows that could not run."""
        self.checks.extend(skipped(name, reason) for name in names)
