"""The tags of an image: one that never moves, and aliases that follow the newest version.

    v1.2.0-trt86-cuda122         app version and stack: never moved to another image
    v1.2.0-trt86-cuda122-sm86    with the engines of one GPU alone
    v1.2-trt86-cuda122           moves with each patch of 1.2
    v1.2.0, v1.2                 the first one and the last one, for the manifest's first stack

A tag that begins with a whole version never moves (`transports/tags.py`).

A pre-release (`1.3.0-rc.1`) moves no short alias: users get one only when they ask for it.
Legal tags: OCI Distribution Specification 1.1, "Pulling manifests".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginecrate.errors import ReferenceInvalid
from enginecrate.image.transports.tags import is_immutable

__all__ = ["ImageTags", "check_tag", "image_tags", "release_tag"]

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_FLOATING = "latest"


@dataclass(frozen=True, slots=True)
class ImageTags:
    """own: names this image for ever. aliases: shorter names of the same image."""

    own: str
    aliases: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Its own tag first."""
        return (self.own, *self.aliases)

    @property
    def moving(self) -> tuple[str, ...]:
        """Aliases that a later version takes over."""
        return tuple(tag for tag in self.aliases if not is_immutable(tag))


def image_tags(version: str, stack: str, *, first: bool = False, device: str = "") -> ImageTags:
    """The tags of one image.

    Args:
        version: of the app, `1.2.0` or `1.2.0-rc.1`.
        stack: its name.
        first: it is the manifest's first stack, which has the short aliases, too.
        device: `sm86` for an image with the engines of one GPU alone.

    Raises:
        ReferenceInvalid: a tag would be too long, or hold what no tag may hold.
    """
    suffix = f"-{stack}-{device}" if device else f"-{stack}"
    core, _, prerelease = version.partition("-")
    short = ".".join(core.split(".")[:2])
    aliases = [] if prerelease else [f"v{short}{suffix}"]
    if first and not device:
        aliases += [f"v{version}"] if prerelease else [f"v{version}", f"v{short}"]
    tags = ImageTags(f"v{version}{suffix}", tuple(aliases))
    for tag in tags.all:
        check_tag(tag)
    return tags


def release_tag(version: str) -> str:
    """The tag of a version's release manifest: `v1.2.0-release`. Raises `ReferenceInvalid`."""
    if not version:
        raise ReferenceInvalid("there is no version, and so no tag of its release")
    return check_tag(f"v{version}-release")


def check_tag(tag: str) -> str:
    """The same tag.

    Raises:
        ReferenceInvalid: it is no legal tag, or it is `latest`, which says nothing about what it
            names and changes under those who use it.
    """
    if tag.lower() == _FLOATING:
        raise ReferenceInvalid(
            "the tag 'latest' is refused: it does not tell which version it names, or when it "
            "changes; use a version such as v1.2.0-ort-cpu, or a digest"
        )
    if not _TAG.fullmatch(tag):
        raise ReferenceInvalid(
            f"{tag!r} cannot be a tag: it has 1 to 128 letters, digits, '_', '.' and '-', and "
            "begins with a letter, a digit or '_'; shorten or correct app.version in the manifest"
        )
    return tag
