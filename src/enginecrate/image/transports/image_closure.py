"""The closure of an image: its platforms, their attachments, and attachments of attachments.

Attachments are the referrers that a registry lists, and those that cosign keeps under tags such as
`sha256-<hex>.sig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from enginecrate.errors import ImageInvalid, ImageNotFound
from enginecrate.image.formats.oci import Descriptor, ImageIndex, Platform, decode, digest_of
from enginecrate.image.transports.base import ImageSource, read_listed
from enginecrate.image.transports.documents import (
    MAX_MANIFEST,
    blobs_of,
    children_of,
    kind_of,
    media_type_of,
    parse,
    subject_of,
)
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Digest

__all__ = ["ImageClosure", "Item", "choose_platform", "read_closure"]

_COSIGN = (".sig", ".att", ".sbom")
_MOST_MANIFESTS = 10_000
_MOST_BYTES = 256 << 20

_Named = tuple[Descriptor, tuple[str, ...]]
"""A manifest with the tags that it must keep."""


@dataclass(frozen=True, slots=True)
class Item:
    """A manifest or index. `tags`: names that it must have at the other end, too (cosign's)."""

    descriptor: Descriptor
    data: bytes
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...] = ()
    subject: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return self.descriptor.digest


@dataclass(frozen=True, slots=True)
class ImageClosure:
    """An image with all that belongs to it. `items`: in an order in which they can be written."""

    root: Item
    items: tuple[Item, ...]

    @property
    def blobs(self) -> list[Descriptor]:
        """Each blob once, largest first (so that no worker is left with a long one at the end)."""
        unique = {blob.digest: blob for item in self.items for blob in item.blobs}
        return sorted(unique.values(), key=lambda blob: (-blob.size, blob.digest))


@dataclass
class _Walk:
    transport: ImageSource
    referrers: bool
    pool: TransferPool
    items: dict[str, Item] = field(default_factory=dict)
    bytes: int = 0


def read_closure(
    transport: ImageSource, name: str, *, referrers: bool = True, pool: TransferPool | None = None
) -> ImageClosure:
    """Read all manifests of an image.

    Args:
        transport: where it is.
        name: its tag or digest.
        referrers: attachments belong to it, too.
        pool: reads several at once.

    Raises:
        ImageNotFound: there is no such image, or a part of it is missing. Attachments that are
            listed, but gone, are left out: they are not there to be copied.
        ImageInvalid: a manifest is malformed, or there are too many.
    """
    walk = _Walk(transport, referrers, pool or TransferPool())
    root = transport.resolve(name)
    wave: list[_Named] = [(root, ())]
    while wave:
        items = walk.pool.each(lambda one: _read(walk, *one), wave)
        for item in items:
            _remember(walk, item)
        later: list[_Named] = [(child, ()) for item in items for child in item.children]
        if referrers:
            lists = walk.pool.each(lambda item: _attached(walk, item), items)
            later += [one for attached in lists for one in attached]
        wave = _unseen(walk, later)
    return ImageClosure(walk.items[root.digest], tuple(_in_order(walk.items, root.digest)))


def choose_platform(transport: ImageSource, name: str, platforms: Sequence[str]) -> str:
    """The digest of the one manifest of an image that is for the chosen platform.

    Args:
        transport: where the image is.
        name: its tag or digest.
        platforms: one, such as `linux/arm64`; a part of an index is another image, so several
            cannot be chosen unless they are all of them.

    Raises:
        ImageNotFound: the image is not for it.
        ImageInvalid: several were chosen, but not all.
    """
    root = transport.resolve(name)
    where = f"{name} in {transport.name}"
    document = parse(transport.read_manifest(digest_of(root)), root.media_type, where)
    if not isinstance(document, ImageIndex):
        own = _own_platform(transport, document.config, where)
        if any(not _is_for(own, platform) for platform in platforms):
            raise ImageNotFound(f"{where} is for {own} alone, and not for {', '.join(platforms)}")
        return root.digest
    chosen = {_matching(document, platform, where) for platform in platforms}
    if len(chosen) == 1:
        return chosen.pop()
    if chosen == {one.digest for one in document.manifests}:
        return root.digest
    raise ImageInvalid(
        f"{where}: choose one platform, or all: an index of some would be another image, "
        "without the signatures of this one"
    )


def _matching(index: ImageIndex, platform: str, where: str) -> str:
    """The digest of the manifest for a platform. Raises `ImageNotFound`."""
    for manifest in index.manifests:
        if manifest.platform and _is_for(manifest.platform, platform):
            return manifest.digest
    listed = ", ".join(sorted(str(one.platform) for one in index.manifests if one.platform))
    raise ImageNotFound(f"{where} has no image for {platform}; it has: {listed or 'none'}")


def _is_for(own: Platform, wanted: str) -> bool:
    """True if they are the same; a wanted platform without a variant takes any."""
    return wanted in (str(own), f"{own.os}/{own.architecture}")


def _own_platform(transport: ImageSource, config: Descriptor, where: str) -> Platform:
    """The platform that the configuration of an image names."""
    if not 0 <= config.size <= MAX_MANIFEST:
        raise ImageInvalid(f"{where} has a configuration of {config.size} bytes")
    return decode(b"".join(transport.read_blob(config)), Platform, f"the configuration of {where}")


def _read(walk: _Walk, descriptor: Descriptor, tags: tuple[str, ...]) -> Item:
    digest = digest_of(descriptor)
    if not 0 <= descriptor.size <= MAX_MANIFEST:
        raise ImageInvalid(
            f"{digest} in {walk.transport.name}: a manifest of {descriptor.size} bytes"
        )
    where = f"{digest} in {walk.transport.name}"
    data = read_listed(walk.transport, descriptor)
    media_type = media_type_of(data, where, descriptor.media_type)
    document = parse(data, media_type, where)
    exact = Descriptor(media_type=media_type, digest=str(digest), size=len(data))
    for part in (*blobs_of(document), *children_of(document)):
        digest_of(part)
        if part.size < 0:
            raise ImageInvalid(f"{where} lists {part.digest} with a negative size")
    return Item(
        exact,
        data,
        blobs_of(document),
        children_of(document),
        subject_of(document),
        kind_of(document),
        tags,
    )


def _remember(walk: _Walk, item: Item) -> None:
    walk.items[item.digest] = item
    walk.bytes += len(item.data)
    if len(walk.items) > _MOST_MANIFESTS or walk.bytes > _MOST_BYTES:
        raise ImageInvalid(
            f"{walk.transport.name}: more than {_MOST_MANIFESTS} manifests, or {_MOST_BYTES} "
            "bytes of them, belong to this image; copy it without what is attached"
        )


def _attached(walk: _Walk, item: Item) -> list[_Named]:
    """The attachments of an item, with the tags that they must keep."""
    subject = Digest(item.digest)
    attached: dict[str, _Named] = {}
    for referrer in walk.transport.referrers(subject):
        if _is_attached(walk, referrer, subject):
            attached[referrer.digest] = (walk.transport.resolve(referrer.digest), ())
    for suffix in _COSIGN:
        tag = f"sha256-{subject.hex}{suffix}"
        try:
            descriptor = walk.transport.resolve(tag)
        except ImageNotFound:
            continue
        _, tags = attached.get(descriptor.digest, (descriptor, ()))
        attached[descriptor.digest] = (descriptor, (*tags, tag))
    return list(attached.values())


def _is_attached(walk: _Walk, descriptor: Descriptor, subject: Digest) -> bool:
    """True if a listed attachment exists and says the same: a fallback list can be out of date."""
    where = f"{descriptor.digest} in {walk.transport.name}"
    try:
        data = walk.transport.read_manifest(digest_of(descriptor))
    except ImageNotFound:
        return False
    return (
        subject_of(parse(data, media_type_of(data, where, descriptor.media_type), where)) == subject
    )


def _unseen(walk: _Walk, later: list[_Named]) -> list[_Named]:
    """Each manifest once. One that is known already may have got a tag."""
    fresh: dict[str, _Named] = {}
    for descriptor, tags in later:
        known = walk.items.get(descriptor.digest)
        if known is not None:
            both = tuple(dict.fromkeys((*known.tags, *tags)))
            walk.items[descriptor.digest] = replace(known, tags=both)
            continue
        _, other = fresh.get(descriptor.digest, (descriptor, ()))
        fresh[descriptor.digest] = (descriptor, tuple(dict.fromkeys((*other, *tags))))
    return [fresh[digest] for digest in sorted(fresh)]


def _in_order(items: dict[str, Item], root: str) -> list[Item]:
    """Children before their index, then attachments, each after what it is attached to."""
    ordered: dict[str, Item] = {}

    def add(digest: str) -> None:
        if digest in ordered or digest not in items:
            return
        for child in items[digest].children:
            add(child.digest)
        ordered[digest] = items[digest]

    add(root)
    for digest in items:
        add(digest)
    return list(ordered.values())
