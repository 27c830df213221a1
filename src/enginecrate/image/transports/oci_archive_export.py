"""The export of images into one `.tar` file with all that belongs to them, for offline sites."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from enginecrate.errors import ImageNotFound
from enginecrate.image.formats.oci import REF_NAME, Descriptor, ImageIndex, encode
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.copy import ByteProgress, RepeatableBlob
from enginecrate.image.transports.docker_archive import (
    DOCKER_LIST,
    FULL_NAME,
    docker_list,
    full_name,
)
from enginecrate.image.transports.documents import parse
from enginecrate.image.transports.image_closure import ImageClosure, Item, read_closure
from enginecrate.image.transports.oci_archive_writer import ArchiveWriter, Member, open_writer
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["release_of", "save"]

_VERSION = "org.opencontainers.image.version"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def save(
    source: ImageSource,
    names: Sequence[str],
    file: Path,
    *,
    tags: Sequence[str] = (),
    repository: str = "",
    referrers: bool = True,
    workers: int = 4,
    progress: Progress = no_progress,
) -> list[Descriptor]:
    """Write images into one archive, with all that is attached to them.

    The same images give the same bytes. The file appears when it is complete; a run that broke off
    goes on when it is called again.

    Args:
        source: where the images are.
        names: their tags or digests; see `release_of` for a release's own manifest.
        file: the archive.
        tags: their tags in the archive; default: the tags among `names`.
        repository: what `podman load` and `docker load` call them, `registry.example.com/isv/app`.
        referrers: attachments go with them.
        workers: transfers at once.
        progress: receives bytes.

    Raises:
        ImageError: the source refuses, or bytes are damaged.
        OSError: the file cannot be written.
    """
    pool = TransferPool(workers)
    roots = [read_closure(source, name, referrers=referrers, pool=pool) for name in names]
    tags = tags or ["" if name.startswith("sha256:") else name for name in names]
    members = _members(roots, tags, repository)
    blobs = [member for member in members if isinstance(member.content, Descriptor)]
    count = ByteProgress("save", sum(one.size for one in blobs), progress)
    count.add(0)
    with open_writer(file, members) as writer:
        writer.write_small()
        _transfer(source, writer, pool, count)
    return [closure.root.descriptor for closure in roots]


def release_of(source: ImageSource, name: str) -> str:
    """The tag of the release manifest that belongs to an image; empty when there is none.

    It is found by the version that the image's annotations say: `v1.2.0-release`.
    """
    root = source.resolve(name)
    data = source.read_manifest(Digest(root.digest))
    document = parse(data, root.media_type, f"{name} in {source.name}")
    version = document.annotations.get(_VERSION, "")
    with contextlib.suppress(ImageNotFound):
        tag = f"v{version.removeprefix('v')}-release"
        if version and source.resolve(tag).digest != root.digest:
            return tag
    return ""


def _transfer(
    source: ImageSource, writer: ArchiveWriter, pool: TransferPool, count: ByteProgress
) -> None:
    def transfer(member: Member) -> None:
        if writer.has(member):
            count.add(member.size)
        elif isinstance(member.content, Descriptor):
            chunks = iter(RepeatableBlob(source, member.content))
            writer.write(member, pool.watched(count.counted(chunks)))

    pool.each(transfer, writer.blobs)


def _members(roots: list[ImageClosure], tags: Sequence[str], repository: str) -> list[Member]:
    contents: dict[str, bytes | Descriptor] = {}
    for closure in roots:
        contents |= {blob.digest: blob for blob in closure.blobs}
        contents |= {item.digest: item.data for item in closure.items}
    blobs = [Member(f"blobs/sha256/{Digest(one).hex}", contents[one]) for one in sorted(contents)]
    return [
        Member("oci-layout", _LAYOUT),
        Member("blobs/", b""),
        Member("blobs/sha256/", b""),
        *blobs,
        Member("index.json", encode(_index(roots, tags, repository))),
        Member(DOCKER_LIST, docker_list(roots, tags, repository)),
    ]


def _index(roots: list[ImageClosure], tags: Sequence[str], repository: str) -> ImageIndex:
    """Tagged images first by their tags; then what nothing else lists."""
    entries: dict[tuple[str, str], Descriptor] = {}
    inner = {child.digest for one in roots for item in one.items for child in item.children}
    for closure, root_tag in zip(roots, tags, strict=True):
        for item in closure.items:
            own = (root_tag,) if item is closure.root and root_tag else ()
            for tag in own + item.tags:
                entries[tag, item.digest] = _entry(item, tag, repository if tag in own else "")
            is_needed = item is closure.root or item.subject or item.digest not in inner
            if not own and not item.tags and is_needed:
                entries["", item.digest] = _entry(item, "", "")
    tagged = {digest for tag, digest in entries if tag}
    kept = [key for key in sorted(entries) if key[0] or key[1] not in tagged]
    return ImageIndex(manifests=tuple(entries[key] for key in kept))


def _entry(item: Item, tag: str, repository: str) -> Descriptor:
    annotations = {REF_NAME: tag} if tag else {}
    if name := full_name(repository, tag):
        annotations[FULL_NAME] = name
    return msgspec.structs.replace(item.descriptor, annotations=annotations)
