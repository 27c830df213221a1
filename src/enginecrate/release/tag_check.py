"""Tags that may name an image of a release: an old image under a new tag is a rollback."""

from __future__ import annotations

import re

from enginecrate.image.transports.tags import tag_in
from enginecrate.release.manifest import ListedImage, ReleaseManifest

__all__ = ["begins_with_version", "naming_problem"]

_VERSION = re.compile(
    r"(?:v(?P<marked>\d+(?:\.\d+)+)|(?P<bare>\d+(?:\.\d+){2,}))(?P<rest>[-_.+].*)?", re.IGNORECASE
)
"""Tags of images with a version: `v1.2`, `v1.2.0`, `1.2.0`. Not `v2`, `v100-prod` or `24.04`."""
_STACK = re.compile(r"[-_.+][a-z]+\d*-(?:cpu|cuda\d+|jetpack\d+)")
"""The part behind a version that has the form of a stack's name."""
_YEARS = range(1900, 2100)


def naming_problem(release: ReleaseManifest, release_name: str, name: str, digest: str) -> str:
    """Why a name does not stand for an image of a release; empty when it may.

    A tag that the release lists names that image and no other. One that it does not list may
    promise no other version and no stack. Digests, and tags that promise nothing (dates, `stable`),
    name anything.

    Args:
        release: the manifest.
        release_name: its tag, for messages.
        name: tag or digest that was asked for.
        digest: what it leads to.
    """
    tag = "" if name.startswith("sha256:") else tag_in(name)
    own, image = release.tagged(tag), release.image(digest)
    if own is not None and digest not in own.digests:
        return f"the tag {tag} was moved: it names {digest}, and the release lists {own.digest}"
    if image is None:
        others = ", ".join(f"{one.tag} {one.digest}" for one in release.images)
        return (
            f"{release_name} does not list the image {digest}: it is the manifest of another or of "
            f"an older release, with {others}"
        )
    if own is None and not _may_be_called(image, tag, release.version):
        return (
            f"the tag {tag} promises something else: it names an image of the release "
            f"{release.version} whose tags are {', '.join(image.tags)}; use one of these, or the "
            "digest"
        )
    return ""


def begins_with_version(tag: str, version: str) -> bool:
    """True when a tag promises a version: `v1.2.0-ort-cpu`, `v1.2`, `1.2.0-mirror`.

    Dates such as `2026.11.23` do not, unless the app's own versions (`version` is one) are years.
    """
    match = _VERSION.fullmatch(tag)
    if match is None:
        return False
    year = (match["bare"] or "").partition(".")[0]
    return not _is_year(year) or _is_year(version.partition(".")[0])


def _may_be_called(image: ListedImage, tag: str, version: str) -> bool:
    """True when an image may have got this tag after its release."""
    if not begins_with_version(tag, version):
        return True
    if _unmarked(tag) in map(_unmarked, image.tags):
        return True
    core, _, prerelease = version.partition("-")
    if prerelease:  # the final version, and `rc.10`, are others
        return _unmarked(tag) == version or _unmarked(tag).startswith(f"{version}_")
    match = _VERSION.fullmatch(tag)
    number = (match["marked"] or match["bare"]).split(".") if match else []
    rest = (match["rest"] or "") if match else ""
    return core.split(".")[: len(number)] == number and not _STACK.match(rest)


def _unmarked(tag: str) -> str:
    return re.sub(r"^[vV](?=\d)", "", tag)


def _is_year(number: str) -> bool:
    return number.isdecimal() and int(number) in _YEARS
