"""From a name to the release manifest that it stands for."""

from __future__ import annotations

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.recipe.tags import check_tag
from enginecrate.image.transports.base import Place
from enginecrate.release.content.image import read_notes, read_root
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.tag_check import naming_problem

__all__ = ["RELEASE_NOTE", "find_release"]

RELEASE_NOTE = "io.enginecrate.release"
"""Annotation and label of an image: the tag of its release manifest."""


def find_release(place: Place, name: str) -> tuple[Descriptor, ReleaseManifest]:
    """The release manifest that a name stands for: its own, or that of one of its images.

    Nothing is verified, but that a release belongs to the image which was named.

    Raises:
        ImageNotFound, BlobCorrupt: as `read_release`.
        ReleaseInvalid: as `read_release`; or the release does not list the image, or lists another
            one under this tag.
    """
    descriptor = place.resolve(name)
    root = read_root(place, descriptor)
    if root.is_artifact:
        return read_release(place, name)
    (tag,) = read_notes(place, root, RELEASE_NOTE)
    if not tag:
        raise ReleaseInvalid(
            f"{name} in {place.name} does not say which release it belongs to; name the release "
            "manifest, such as v1.2.0-release"
        )
    found, release = read_release(place, check_tag(tag))
    if problem := naming_problem(release, tag, name, descriptor.digest):
        raise ReleaseInvalid(problem)
    return found, release
