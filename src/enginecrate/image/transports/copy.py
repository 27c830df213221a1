"""Copies of images from any transport to any other: digests never change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from enginecrate.errors import BlobCorrupt, ImageNotFound, ReferenceInvalid, TagTaken
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.image.transports.image_closure import (
    ImageClosure,
    Item,
    choose_platform,
    read_closure,
)
from enginecrate.image.transports.layout_reader import LayoutReader
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_check import refuse_faults
from enginecrate.image.transports.shared_tags import write_shared
from enginecrate.image.transports.tags import is_immutable, is_shared_tag, tagged_digests
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["ByteProgress", "RepeatableBlob", "copy_image", "copy_images"]


def copy_image(
    source: ImageSource,
    name: str,
    target: ImageTarget,
    tags: Sequence[str],
    *,
    immutable: Sequence[str] = (),
    platforms: Sequence[str] = (),
    referrers: bool = True,
    workers: int = 4,
    progress: Progress = no_progress,
) -> Descriptor:
    """Copy an image with all that is attached to it; nothing is copied that is there.

    The tags appear last: once they are there, everything can be pulled. An interrupted copy
    goes on where it was when it is called again.

    Args:
        source: where it is.
        name: its tag or digest there.
        target: where it goes.
        tags: its tags there; without any, only its digest names it.
        immutable: those of the tags that must not move.
        platforms: of an index, the one that is copied, `linux/arm64`; default: all.
        referrers: signatures, SBOMs, statements, and what is attached to them.
        workers: transfers at once.
        progress: receives bytes.

    Raises:
        TagTaken: an immutable tag names another image; nothing was copied.
        ImageError: either side refuses, or bytes are damaged.
    """
    pool = TransferPool(workers)
    if platforms:
        name = choose_platform(source, name, platforms)
    closure = read_closure(source, name, referrers=referrers, pool=pool)
    _check_tags(target, Digest(closure.root.digest), immutable)
    _copy_blobs(source, closure, target, pool, progress)
    _write_manifests(closure, target)
    return _write_root(closure.root, target, tags, immutable)


def copy_images(
    source: ImageSource,
    name: str,
    target: ImageTarget,
    tags: Sequence[str] = (),
    *,
    immutable: bool | None = None,
    platforms: Sequence[str] = (),
    referrers: bool = True,
    workers: int = 4,
    progress: Progress = no_progress,
) -> list[tuple[Descriptor, tuple[str, ...]]]:
    """Copy one image, or every tagged image of a layout or archive, with all that is attached.

    Args:
        source: where they are.
        name: a tag or digest; empty: all tagged images.
        target: where they go.
        tags: their tags there; default: the tags that they have. Only for one image.
        immutable: tags must not move, or may; default: those with a whole version must not.
        platforms: as for `copy_image`.
        referrers: the same.
        workers: the same.
        progress: the same.

    Returns:
        Each image with its tags.

    Raises:
        ReferenceInvalid: no image is named, and the source is a registry.
        ArchiveUnsafe: other programs would read other images from an archive (`archive_faults`).
        ImageInvalid: `tags` for several images, or an archive without any tag.
        ImageError: as `copy_image`.
    """
    if isinstance(source, Archive):
        refuse_faults(source)
    copied = []
    for image, names in _chosen(source, name, tags):
        fixed = [tag for tag in names if (is_immutable(tag) if immutable is None else immutable)]
        descriptor = copy_image(
            source, image, target, names, immutable=fixed, platforms=platforms,
            referrers=referrers, workers=workers, progress=progress,
        )  # fmt: skip
        copied.append((descriptor, tuple(names)))
    return copied


class RepeatableBlob:
    """The bytes of a blob, which are read anew each time that they are iterated."""

    def __init__(self, source: ImageSource, blob: Descriptor) -> None:
        self._source, self._blob = source, blob
        self.around: Callable[[Iterator[bytes]], Iterator[bytes]] = iter

    def __iter__(self) -> Iterator[bytes]:
        return self.around(self._source.read_blob(self._blob))


class ByteProgress:
    """Counts the bytes of several transfers for one progress bar. Thread-safe."""

    def __init__(self, step: str, total: int, progress: Progress) -> None:
        self._step, self._total, self._progress = step, total, progress
        self._done = 0
        self._lock = threading.Lock()

    def counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces. Those of a transfer that fails are taken back."""
        passed, finished = 0, False
        try:
            for piece in chunks:
                passed += len(piece)
                self.add(len(piece))
                yield piece
            finished = True
        finally:
            if not finished:
                self.add(-passed)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._step, self._done, self._total)


def _chosen(
    source: ImageSource, name: str, tags: Sequence[str]
) -> list[tuple[str, Sequence[str]]]:  # fmt: skip
    """Each chosen image, with its tags at the target."""
    if name:
        return [(name, tags or ([] if name.startswith("sha256:") else [name]))]
    if not isinstance(source, LayoutReader):
        raise ReferenceInvalid(
            f"{source.name} does not say which image: add a tag ({source.name}:v1.2.0-ort-cpu) or "
            "a digest"
        )
    return list(tagged_digests(source, tags).items())


def _check_tags(target: ImageTarget, digest: Digest, immutable: Sequence[str]) -> None:
    """Check the tags before any work: the copy may take hours."""
    for tag in immutable:
        try:
            current = target.resolve(tag).digest
        except ImageNotFound:
            continue
        if current != digest:
            raise TagTaken(
                f"{target.name}: the tag {tag} names {current} already, and is not moved to "
                f"{digest}; choose another version, or say that the tag may move"
            )


def _copy_blobs(
    source: ImageSource,
    closure: ImageClosure,
    target: ImageTarget,
    pool: TransferPool,
    progress: Progress,
) -> None:
    blobs = closure.blobs
    presence = pool.each(lambda blob: target.has_blob(digest_of(blob)), blobs)
    missing = [blob for blob, has in zip(blobs, presence, strict=True) if not has]
    count = ByteProgress("copy", sum(blob.size for blob in missing), progress)
    count.add(0)
    mount = _mount_of(source, target)

    def transfer(blob: Descriptor) -> None:
        if mount(blob):
            count.add(blob.size)
            return
        bytes_of_blob = RepeatableBlob(source, blob)
        bytes_of_blob.around = lambda chunks: pool.watched(count.counted(chunks))
        try:
            target.write_blob(blob, bytes_of_blob)
        except BlobCorrupt:
            # The part that an earlier run kept may have been damaged; it is gone now. Once more.
            target.write_blob(blob, bytes_of_blob)

    pool.each(transfer, missing)


def _mount_of(source: ImageSource, target: ImageTarget) -> Callable[[Descriptor], bool]:
    """The way of blobs between repositories of one registry without a transfer."""
    from enginecrate.image.transports.registry import Repository

    if isinstance(source, Repository) and isinstance(target, Repository):
        origin, goal = source, target
        return lambda blob: goal.mount_blob(blob, origin)
    return lambda blob: False


def _write_manifests(closure: ImageClosure, target: ImageTarget) -> None:
    subjects = {item.subject for item in closure.items}
    with target.attaching():
        _write_items(closure.items, subjects, target)


def _write_items(items: Sequence[Item], subjects: set[str], target: ImageTarget) -> None:
    for item in items:
        # A manifest with tags of its own may be merged with others there; its digest is only
        # needed where something is attached.
        by_digest = not item.tags or item.subject or item.digest in subjects
        if by_digest and not _is_listed(item, target):
            target.write_manifest(item.data, item.descriptor.media_type)
        for tag in item.tags:
            if is_shared_tag(tag):
                write_shared(target, tag, item.data, item.descriptor.media_type)
            else:
                target.write_manifest(item.data, item.descriptor.media_type, [tag])


def _write_root(
    root: Item, target: ImageTarget, tags: Sequence[str], immutable: Sequence[str]
) -> Descriptor:
    """Put the image under its tags; one that is itself a shared tag is added to what is there."""
    shared = [tag for tag in tags if is_shared_tag(tag)]
    own = [tag for tag in tags if tag not in shared]
    media_type, written = root.descriptor.media_type, root.descriptor
    if own:
        target.write_manifest(root.data, media_type, own, immutable=immutable)
    for tag in shared:
        written = write_shared(target, tag, root.data, media_type)
    return written


def _is_listed(item: Item, target: ImageTarget) -> bool:
    """True if a manifest is there, and among the referrers of its subject."""
    try:
        if item.subject:
            listed = target.referrers(Digest(item.subject), item.kind)
            if all(one.digest != item.digest for one in listed):
                return False
        return target.resolve(item.digest).digest == item.digest
    except (BlobCorrupt, ImageNotFound):
        return False
