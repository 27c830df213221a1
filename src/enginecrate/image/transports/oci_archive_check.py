"""The check that all programs read the same images from an archive.

We read `index.json`. `podman load` and `docker load` read `manifest.json`, or other keys of the
index: an archive that says one thing here and another there would be verified as one image, and
run as another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from enginecrate.errors import ArchiveUnsafe, ImageError
from enginecrate.image.formats.oci import REF_NAME, Descriptor
from enginecrate.image.transports.docker_archive import (
    DOCKER_LIST,
    FULL_NAME,
    DockerImage,
    docker_image,
)
from enginecrate.image.transports.image_closure import read_closure
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.tags import is_attachment_tag, tag_in

__all__ = ["archive_faults", "refuse_faults"]

_INDEX_KEYS = (
    "schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations",
    "digest", "size", "platform", "urls", "data", "os", "architecture", "variant",
)  # fmt: skip
_LIST_KEYS = ("Config", "RepoTags", "Layers", "Parent", "LayerSources")
_LEGACY_LIST = "repositories"
"""The list that docker reads where there is no `manifest.json`."""

_MOST_ENTRIES = 10_000


class _Ambiguous(ValueError):
    """JSON that two programs read differently."""


def archive_faults(archive: Archive) -> list[str]:
    """The faults for which other programs take other images from an archive than `Archive` shows.

    Returns:
        One sentence each; none for archives of `save`, podman and skopeo. Blobs that nothing lists
        are no fault: no program reads them.
    """
    if len(archive.index().manifests) > _MOST_ENTRIES:
        return [f"index.json lists more than {_MOST_ENTRIES} images"]
    faults: list[str] = []
    for check in (_wrong_keys, _double_tags, _wrong_names, _wrong_list):
        try:
            faults += check(archive)
        except (ImageError, _Ambiguous) as exc:
            faults.append(str(exc))
    return list(dict.fromkeys(faults))


def refuse_faults(archive: Archive) -> None:
    """Raises `ArchiveUnsafe` with the faults, if there is one."""
    if faults := archive_faults(archive):
        raise ArchiveUnsafe(
            f"{archive.name} is not what `enginecrate image save` writes: {'; '.join(faults)}; "
            "load nothing of it, and get it again from its source"
        )


def _wrong_keys(archive: Archive) -> Iterator[str]:
    _unambiguous(archive, "index.json", _INDEX_KEYS)
    yield from ()


def _double_tags(archive: Archive) -> Iterator[str]:
    """`example.com/app:v1` is the tag `v1`, too."""
    tagged = [one for one in archive.index().manifests if _tag(one)]
    by_name = Counter(_tag(one) for one in tagged)
    by_tag = Counter(tag for tag, _ in {(tag_in(_tag(one)), one.digest) for one in tagged})
    for name in sorted({name for many in (by_name, by_tag) for name in many if many[name] > 1}):
        yield f"the tag {name!r} stands twice in index.json"


def _wrong_names(archive: Archive) -> Iterator[str]:
    """Whole names are `repository:tag`, of one repository, and of tagged images alone."""
    repositories = set()
    for entry in archive.index().manifests:
        name, tag = entry.annotations.get(FULL_NAME), _tag(entry)
        if name is None:
            continue
        repository, _, own = name.rpartition(":")
        repositories.add(repository)
        if not repository or not tag or own != tag or is_attachment_tag(tag):
            yield f"index.json calls {entry.digest} {name!r}, and its tag is {tag!r}"
    if len(repositories) > 1:
        yield f"index.json names several repositories: {', '.join(sorted(repositories))}"


def _wrong_list(archive: Archive) -> Iterator[str]:
    if DOCKER_LIST not in archive.files:
        if _LEGACY_LIST in archive.files:
            yield f"it holds {_LEGACY_LIST!r}, a list of images that only docker reads"
        return
    required, allowed = _right_list(archive)
    listed = _read_list(archive)
    for name in sorted({_name(one) for one in listed - allowed}):
        yield f"{DOCKER_LIST} has another image for {name!r} than index.json"
    for name in sorted({_name(one) for one in required - listed}):
        yield f"{DOCKER_LIST} does not list {name!r}, which index.json has"


def _right_list(archive: Archive) -> tuple[set[DockerImage], set[DockerImage]]:
    """The list that `save` writes for the tags of the index, and what may stand in it besides."""
    entries = [one for one in archive.index().manifests if not is_attachment_tag(_tag(one))]
    images = {
        digest: docker_image(read_closure(archive, digest, referrers=False), "")
        for digest in dict.fromkeys(one.digest for one in entries)
    }
    required, nameless = set(), {image for image in images.values() if image is not None}
    for entry in entries:
        image, name = images[entry.digest], entry.annotations.get(FULL_NAME)
        if image is not None and _tag(entry):
            required.add(msgspec.structs.replace(image, repo_tags=(name,) if name else None))
    return required, required | nameless


def _read_list(archive: Archive) -> set[DockerImage]:
    """Each name of the list with its image."""
    data = _unambiguous(archive, DOCKER_LIST, _LIST_KEYS)
    try:
        listed = msgspec.convert(data, list[DockerImage])
    except msgspec.ValidationError as exc:
        raise _Ambiguous(f"{DOCKER_LIST} is not a list of images ({exc})") from exc
    return {
        msgspec.structs.replace(one, repo_tags=(name,) if name else None)
        for one in listed
        for name in one.repo_tags or ("",)
    }


def _name(image: DockerImage) -> str:
    return image.repo_tags[0] if image.repo_tags else image.config


def _unambiguous(archive: Archive, name: str, known: tuple[str, ...]) -> Any:
    """A JSON file in which no key stands twice, and none is written in another case.

    Programs in Go take `CONFIG` for `Config`, and the last of both.
    """
    folded = {key.casefold(): key for key in known}

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(key for key, _ in items).items():
            if times > 1 or folded.get(key.casefold(), key) != key:
                raise _Ambiguous(f"programs read the key {key!r} of {name} differently")
        return dict(items)

    try:
        return json.loads(archive.read_small(name), object_pairs_hook=pairs)
    except _Ambiguous:
        raise
    except (ValueError, RecursionError) as exc:
        raise _Ambiguous(f"{name} is not valid JSON") from exc


def _tag(entry: Descriptor) -> str:
    return entry.annotations.get(REF_NAME, "")
