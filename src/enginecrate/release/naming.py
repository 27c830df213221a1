"""Which image of a release a tag may name: an old image under a new tag is a rollback."""

from __future__ import annotations

import re

from enginecrate.image.places.selection import tag_in
from enginecrate.release.manifest import ReleaseManifest

__all__ = ["begins_with_version", "naming_problem"]

_VERSION = re.compile(r"(?:v\d+(?:\.\d+)*|(?P<bare>\d+)(?:\.\d+)+)(?=[-_.+]|$)", re.IGNORECASE)
_YEARS = range(1900, 2100)


def naming_problem(release: ReleaseManifest, release_name: str, name: str, digest: str) -> str:
    """Why a name does not stand for an image of a release; empty when it may.

    A tag that begins with a version must be one that the release lists for exactly this image, or
    for one of its platforms. Digests, and tags that are no versions (dates, `stable`), name
    anything.

    Args:
        release: the manifest.
        release_name: its tag, for messages.
        name: tag or digest that was asked for.
        digest: what it leads to.
    """
    tag = "" if name.startswith("sha256:") else tag_in(name)
    wanted, found = release.tagged(tag), release.image(digest)
    if wanted is not None and digest not in wanted.digests:
        return f"the tag {tag} was moved: it names {digest}, and the release lists {wanted.digest}"
    if found is None:
        others = ", ".join(f"{one.tag} {one.digest}" for one in release.images)
        return (
            f"{release_name} does not list the image {digest}: it is the manifest of another or of "
            f"an older release, with {others}"
        )
    if wanted is None and begins_with_version(tag, release.version):
        return (
            f"the tag {tag} was moved: it names the image of the release {release.version} whose "
            f"tags are {', '.join(found.tags)}; use one of these, or the digest"
        )
    return ""


def begins_with_version(tag: str, version: str) -> bool:
    """Whether a tag promises a version: `v1.2.0-ort-cpu`, `v1`, `1.3-mirror`.

    Dates such as `2026.11.23` do not, unless the app's own versions (`version` is one) are years.
    """
    found = _VERSION.match(tag)
    if found is None:
        return False
    return not _is_year(found["bare"] or "") or _is_year(version.partition(".")[0])


def _is_year(number: str) -> bool:
    return number.isdecimal() and int(number) in _YEARS
