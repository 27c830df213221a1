"""Images with all that belongs to them in one `.tar` file, and back: for sites without network."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from enginecrate.errors import ImageNotFound
from enginecrate.image.formats.oci import REF_NAME, Descriptor, ImageIndex, encode
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.image.transports.copy import Bytes, Replay, copy_image
from enginecrate.image.transports.docker_archive import (
    DOCKER_LIST,
    FULL_NAME,
    docker_list,
    full_name,
)
from enginecrate.image.transports.documents import parse
from enginecrate.image.transports.image_closure import Gathered, Item, gather
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_check import refuse_faults
from enginecrate.image.transports.oci_archive_writer import ArchiveWriter, Member, writing
from enginecrate.image.transports.tags import is_immutable, tagged_digests
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["load", "release_of", "save"]

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
        referrers: whether attachments go with them.
        workers: transfers at once.
        progress: receives bytes.

    Raises:
        ImageError: the source refuses, or bytes are damaged.
        OSError: the file cannot be written.
    """
    pool = TransferPool(workers)
    roots = [gather(source, name, referrers=referrers, pool=pool) for name in names]
    tags = tags or ["" if name.startswith("sha256:") else name for name in names]
    members = _members(roots, tags, repository)
    blobs = [one for one in members if isinstance(one.content, Descriptor)]
    count = Bytes("save", sum(one.size for one in blobs), progress)
    count.add(0)
    with writing(file, members) as writer:
        writer.write_small()
        _transfer(source, writer, pool, count)
    return [gathered.root.descriptor for gathered in roots]


def load(
    archive: Archive,
    target: ImageTarget,
    *,
    tags: Sequence[str] = (),
    moving: bool = False,
    referrers: bool = True,
    workers: int = 4,
    progress: Progress = no_progress,
) -> list[tuple[Descriptor, tuple[str, ...]]]:
    """Copy every image of an archive, with all that is attached.

    Args:
        archive: as `save` writes it.
        target: where they go.
        tags: other tags than in the archive, when it holds one image.
        moving: whether tags with a whole version may move, too.
        referrers: whether attachments go with them.
        workers: transfers at once.
        progress: receives bytes.

    Returns:
        Each image with its tags.

    Raises:
        ArchiveUnsafe: other programs would read other images from it (`archive_faults`).
        ImageInvalid: `tags` for several images, or an archive without any tag.
        ImageError: the target refuses, or bytes are damaged.
    """
    refuse_faults(archive)
    done = []
    for digest, names in tagged_digests(archive, tags).items():
        fixed = [] if moving else [tag for tag in names if is_immutable(tag)]
        descriptor = copy_image(
            archive, digest, target, names, immutable=fixed, referrers=referrers,
            workers=workers, progress=progress,
        )  # fmt: skip
        done.append((descriptor, tuple(names)))
    return done


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


def _transfer(source: ImageSource, writer: ArchiveWriter, pool: TransferPool, count: Bytes) -> None:
    def transfer(member: Member) -> None:
        if writer.has(member):
            count.add(member.size)
        elif isinstance(member.content, Descriptor):
            chunks = iter(Replay(source, member.content))
            writer.write(member, pool.watched(count.counted(chunks)))

    pool.each(transfer, writer.blobs)


def _members(roots: list[Gathered], tags: Sequence[str], repository: str) -> list[Member]:
    contents: dict[str, bytes | Descriptor] = {}
    for gathered in roots:
        contents |= {blob.digest: blob for blob in gathered.blobs}
        contents |= {item.digest: item.data for item in gathered.items}
    blobs = [Member(f"blobs/sha256/{Digest(one).hex}", contents[one]) for one in sorted(contents)]
    return [
        Member("oci-layout", _LAYOUT),
        Member("blobs/", b""),
        Member("blobs/sha256/", b""),
        *blobs,
        Member("index.json", encode(_index(roots, tags, repository))),
        Member(DOCKER_LIST, docker_list(roots, tags, repository)),
    ]


def _index(roots: list[Gathered], tags: Sequence[str], repository: str) -> ImageIndex:
    """Tagged images first by their tags; then what nothing else lists."""
    entries: dict[tuple[str, str], Descriptor] = {}
    inner = {child.digest for one in roots for item in one.items for child in item.children}
    for gathered, root_tag in zip(roots, tags, strict=True):
        for item in gathered.items:
            own = (root_tag,) if item is gathered.root and root_tag else ()
            for tag in own + item.tags:
                entries[tag, item.digest] = _entry(item, tag, repository if tag in own else "")
            is_needed = item is gathered.root or item.subject or item.digest not in inner
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
