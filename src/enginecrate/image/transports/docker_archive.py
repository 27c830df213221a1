"""Archives of `podman save` and `docker save`: a tar with layers, a configuration and a list.

`DockerArchive` reads one where it is, as an `ImageSource`: the layers are plain tars whose digests
the configuration lists, and the manifest is made in memory. `docker_list` makes the list that
`podman load` and `docker load` read from our archives, with whole names.

Source: Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from enginecrate.errors import ImageError, ImageInvalid, ImageNotFound, InputUnreadable
from enginecrate.image.formats.oci import (
    CONFIG,
    MANIFEST,
    Descriptor,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.formats.tar_stream import TarReader
from enginecrate.image.transports.base import checked
from enginecrate.image.transports.documents import blobs_of, parse
from enginecrate.image.transports.image_closure import ImageClosure
from enginecrate.values import Digest

__all__ = [
    "DOCKER_LIST",
    "FULL_NAME",
    "DockerArchive",
    "DockerImage",
    "docker_image",
    "docker_list",
    "full_name",
    "is_docker_archive",
]

DOCKER_LIST = "manifest.json"
FULL_NAME = "io.containerd.image.name"
"""Annotation that container engines read a whole name from, `registry/repository:tag`."""
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_PIECE = 1 << 20
_LARGEST_JSON = 8 << 20
_MOST_MEMBERS = 10_000


class DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of the list. `config` and `layers` are files of the archive."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


def full_name(repository: str, tag: str) -> str:
    """The name of an image for container engines; empty without a tag or a repository."""
    return f"{repository}:{tag}" if repository and tag else ""


def docker_list(roots: Sequence[ImageClosure], tags: Sequence[str], repository: str) -> bytes:
    """The list: one platform of each image. tags: one for each image, empty where it has none."""
    images = [
        docker_image(closure, full_name(repository, tag))
        for closure, tag in zip(roots, tags, strict=True)
    ]
    return msgspec.json.encode([one for one in images if one is not None], order="sorted")


def docker_image(closure: ImageClosure, name: str) -> DockerImage | None:
    """An image in the list, under a whole name or none; `None` for other artifacts."""
    image = _one_platform(closure)
    if image is None:
        return None
    config, *layers = (f"blobs/sha256/{Digest(blob.digest).hex}" for blob in image)
    return DockerImage(config, tuple(layers), (name,) if name else None)


def _one_platform(closure: ImageClosure) -> tuple[Descriptor, ...] | None:
    """Configuration and layers of an image: of an index, linux/amd64 or else its first one."""
    by_digest = {item.digest: item for item in closure.items}
    item, choice = (
        closure.root,
        sorted(closure.root.children, key=lambda one: (str(one.platform) != "linux/amd64",)),
    )
    if choice:
        item = by_digest[choice[0].digest]
    document = parse(item.data, item.descriptor.media_type, item.digest)
    if not isinstance(document, ImageManifest):
        return None
    is_image = document.config.media_type in (CONFIG, _DOCKER_CONFIG)
    return blobs_of(document) if is_image and not document.artifact_type else None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...]


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFs


def is_docker_archive(file: Path) -> bool:
    """True if a file is such an archive, and not (also) one of an OCI layout."""
    try:
        names = set(_members(file))
    except (OSError, ImageError):
        return False
    return DOCKER_LIST in names and "oci-layout" not in names


def _members(file: Path) -> dict[str, tuple[int, int]]:
    """The offset and size of each member's content; links lead to their targets."""
    members: dict[str, tuple[int, int]] = {}
    with file.open("rb") as archive:
        reader = TarReader.of_file(archive, str(file), _MOST_MEMBERS)
        for entry in reader:
            if entry.kind == "file":
                members[entry.name] = (archive.tell(), entry.size)
            elif entry.kind in ("symlink", "hardlink"):
                # podman links a layer that several images share: ../LAYER/layer.tar
                target = entry.target.removeprefix("../")
                if target in members:
                    members[entry.name] = members[target]
            reader.skip()
    return members


class DockerArchive:
    """An `ImageSource` in a file."""

    def __init__(self, path: Path) -> None:
        """Opens the archive.

        Raises:
            InputUnreadable: there is no such file.
            ImageInvalid, ArchiveUnsafe: it is not an archive of `save`.
        """
        self.path = path
        self._manifests: dict[str, bytes] = {}
        self._tags: dict[str, str] = {}
        self._blobs: dict[str, tuple[int, int]] = {}
        try:
            self._files = _members(path)
        except OSError as exc:
            raise InputUnreadable(f"cannot read {path}: {exc.strerror}; check the path") from exc
        for listed in decode(
            self._small(DOCKER_LIST), tuple[DockerImage, ...], f"{DOCKER_LIST} in {path}"
        ):
            self._add(listed)

    @property
    def name(self) -> str:
        return str(self.path)

    def choose(self, tag: str) -> str:
        """The name of the image that is meant: its digest when it has no tag.

        Raises:
            ImageNotFound: there are several, or none with this tag.
        """
        if tag:
            self.resolve(tag)
            return tag
        if len(self._manifests) != 1:
            raise ImageNotFound(
                f"{self.path} has {len(self._manifests)} images; name one by its tag: "
                f"{self.path}:TAG (tags: {', '.join(self._tags) or 'none'})"
            )
        return next(iter(self._tags), None) or next(iter(self._manifests))

    def resolve(self, tag_or_digest: str) -> Descriptor:
        digest = self._tags.get(tag_or_digest, tag_or_digest)
        if digest not in self._manifests:
            raise ImageNotFound(
                f"{self.path} has no image {tag_or_digest!r}; its tags: "
                f"{', '.join(self._tags) or 'none'}"
            )
        data = self._manifests[digest]
        return Descriptor(media_type=MANIFEST, digest=digest, size=len(data))

    def read_manifest(self, digest: Digest) -> bytes:
        if digest not in self._manifests:
            raise ImageNotFound(f"{self.path} has no manifest {digest}")
        return self._manifests[digest]

    def has_blob(self, digest: Digest) -> bool:
        return digest in self._blobs

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        digest = digest_of(descriptor)
        if digest not in self._blobs:
            raise ImageNotFound(f"{self.path} has no blob {digest}")
        with self.path.open("rb") as file:
            yield from checked(_pieces(file, *self._blobs[digest]), descriptor, self.name)

    def tags(self) -> Sequence[str]:
        return list(self._tags)

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        return []

    def _add(self, listed: DockerImage) -> None:
        data = self._small(listed.config)
        config = decode(data, _Config, f"{listed.config} in {self.path}")
        digests = config.rootfs.diff_ids
        if len(digests) != len(listed.layers):
            raise ImageInvalid(
                f"{self.path}: {listed.config} lists {len(digests)} layers, {DOCKER_LIST} "
                f"{len(listed.layers)}; save the image again"
            )
        layers = [
            self._blob(name, digest, _LAYER)
            for name, digest in zip(listed.layers, digests, strict=True)
        ]
        manifest = ImageManifest(
            config=self._blob(listed.config, Digest.of(data), CONFIG), layers=tuple(layers)
        )
        document = encode(manifest)
        digest = str(Digest.of(document))
        self._manifests[digest] = document
        for tag in listed.repo_tags or ():
            self._tags[tag.rpartition(":")[2]] = digest

    def _blob(self, name: str, digest: str, media_type: str) -> Descriptor:
        if name not in self._files:
            raise ImageInvalid(
                f"{self.path} has no {name}, which {DOCKER_LIST} names; save it again"
            )
        self._blobs[digest] = self._files[name]
        return Descriptor(media_type=media_type, digest=digest, size=self._files[name][1])

    def _small(self, name: str) -> bytes:
        if name not in self._files:
            raise ImageInvalid(f"{self.path} has no {name}; save the image again")
        offset, size = self._files[name]
        if size > _LARGEST_JSON:
            raise ImageInvalid(f"{name} in {self.path} has {size:,} bytes: too many")
        with self.path.open("rb") as file:
            return b"".join(_pieces(file, offset, size))


def _pieces(file: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    file.seek(offset)
    while size and (piece := file.read(min(_PIECE, size))):
        size -= len(piece)
        yield piece
