"""Rules of the `[image]` section: nothing in an image floats."""

from __future__ import annotations

import re
from collections.abc import Iterator

from enginecrate.manifest.faults import Fault
from enginecrate.manifest.schema import Image
from enginecrate.values import ImageRef

__all__ = ["base_image_fault", "image_faults"]

_PINNED = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]+\])?\s*==\s*"
    r"[0-9](?:[A-Za-z0-9.!+_-]*[A-Za-z0-9])?"
)
"""`name==1.2.3` or `name[extra]==1.2.3`: no wildcard, no range, no marker, no address."""

_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian policy, section 5.6.1."""

_LAYOUT = re.compile(
    r"oci:(?P<folder>.+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?P<digest>@sha256:[0-9a-f]{64})?"
)


def image_faults(image: Image) -> Iterator[Fault]:
    """Every fault that the types alone do not show."""
    if message := _repository_fault(image.repository):
        yield ("image", "repository"), message
    for requirement in image.packages:
        if not _PINNED.fullmatch(requirement.strip()):
            yield (
                ("image", "packages"),
                f"{requirement!r} does not name one version, and nothing in an image may float; "
                "write it as name==1.2.3",
            )
    for name in image.debs:
        if not _DEB.fullmatch(name):
            yield (
                ("image", "debs"),
                f"{name!r} is not the name of a Debian package; write names alone, as libgomp1: "
                "enginecrate.lock holds the versions",
            )
    if image.source and not re.fullmatch(r"https?://[^\s@]+", image.source):
        yield ("image", "source"), "must be an http or https address without a password"
    if message := base_image_fault(image.base_image):
        yield ("image", "base_image"), message


def base_image_fault(base: str) -> str:
    """The fault of a name of a vendor's image; empty: it has none, or there is no name.

    It is always named by its digest, in a registry and on a disk alike.
    """
    layout = _LAYOUT.fullmatch(base)
    if layout:
        name, tag, digest = f"oci:{layout['folder']}", layout["tag"] or "", layout["digest"] or ""
    else:
        try:
            reference = ImageRef.parse(base)
        except ValueError:
            wrong = f"{base!r} is neither an image with its registry and digest, nor an OCI layout"
            return f"{wrong} as oci:FOLDER@sha256:..." if base else ""
        name, tag, digest = reference.name, reference.tag, reference.digest
    latest = tag.lower() == "latest"
    if digest and not latest:
        return ""
    floats = "a tag alone is refused" if tag and not latest else "'latest' is refused"
    shown = f"{name}:{'TAG' if latest or not tag else tag}"
    return (
        f"{floats}: it names another image tomorrow; name it by its digest, {name}@sha256:..., "
        f"which this shows: enginecrate image show {shown}"
    )


def _repository_fault(repository: str) -> str:
    if not repository:
        return ""
    try:
        reference = ImageRef.parse(repository)
    except ValueError:
        return (
            f"{repository!r} is not a repository; write registry and name in lower case, for "
            'example "registry.example.com/isv/ai-inspection"'
        )
    if reference.tag == "latest":
        return "'latest' is refused: it names another image tomorrow; leave the tag out"
    if reference.tag or reference.digest:
        return "must not have a tag: tags are made from the version and the stack; leave it out"
    return ""
