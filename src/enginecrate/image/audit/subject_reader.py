"""The reader of audit subjects: one for each platform of a named image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from enginecrate.errors import ImageInvalid, ImageNotFound
from enginecrate.image.audit.file_scan import FileScan
from enginecrate.image.audit.rules.subject import Subject
from enginecrate.image.formats.oci import (
    Descriptor,
    ImageIndex,
    ImageManifest,
    Platform,
    decode,
    digest_of,
)
from enginecrate.image.reading.configuration import read_config
from enginecrate.image.reading.filesystem import Filesystem, read_filesystem
from enginecrate.image.transports.base import read_listed
from enginecrate.image.transports.documents import parse
from enginecrate.image.transports.tags import is_attachment_tag, tags_of_digest
from enginecrate.values import Digest, Progress

if TYPE_CHECKING:
    from enginecrate.image.transports.base import ImageSource

__all__ = ["ScannedFiles", "read_platforms", "read_subject"]

_SIGNATURES = ("sigstore", "cosign", "notary", "signature", "dsse")
_READABLE = frozenset({"tar", "gzip", "zstd"})


@dataclass(frozen=True, slots=True)
class ScannedFiles:
    """A platform's files, all layers of which were read with `scan` as the observer."""

    files: Filesystem
    scan: FileScan


class _Layer(msgspec.Struct, frozen=True, rename="camel"):
    """The parts of a layer's descriptor that say where it is."""

    media_type: str
    digest: str
    urls: tuple[str, ...] = ()


class _Layers(msgspec.Struct, frozen=True):
    layers: tuple[_Layer, ...]


def read_platforms(
    transport: ImageSource, name: str, platform: str = ""
) -> tuple[Descriptor, Sequence[Descriptor]]:
    """The descriptor that a name points to, and those of its platforms.

    Args:
        transport: where the image is.
        name: tag or digest.
        platform: only this one: `linux/amd64`; empty: all of them.

    Raises:
        ImageNotFound: there is no such image, or not for this platform.
        ImageInvalid: it is an artifact, and no image.
    """
    top = transport.resolve(name)
    manifests = list(_manifests(transport, top))
    if not manifests:
        raise ImageInvalid(
            f"{name} in {transport.name} lists no image; audit another tag or digest"
        )
    if not platform:
        return top, manifests
    known = {one.digest: str(one.platform or _platform(transport, one)) for one in manifests}
    chosen = [one for one in manifests if known[one.digest] == platform]
    if not chosen:
        raise ImageNotFound(
            f"{name} in {transport.name} is not for {platform}; it is for "
            f"{', '.join(known.values())}"
        )
    return top, chosen


def _platform(transport: ImageSource, descriptor: Descriptor) -> Platform:
    """The platform in the configuration, where no index names it."""
    document = parse(read_listed(transport, descriptor), descriptor.media_type, descriptor.digest)
    if isinstance(document, ImageIndex):
        return Platform(os="", architecture="")
    config = read_config(transport, document.config)
    return Platform(architecture=config.architecture, os=config.os, variant=config.variant)


def _manifests(transport: ImageSource, top: Descriptor) -> Iterator[Descriptor]:
    """The images of an index, without what builders attach to it; or the one image."""
    data = read_listed(transport, top)
    document = parse(data, top.media_type, f"{top.digest} in {transport.name}")
    if isinstance(document, ImageManifest):
        yield top
        return
    for listed in document.manifests:
        attached = listed.annotations.get("vnd.docker.reference.type") or listed.artifact_type
        if not attached and str(listed.platform) != "unknown/unknown":
            yield listed


def read_subject(
    transport: ImageSource,
    top: Descriptor,
    descriptor: Descriptor,
    name: str,
    progress: Progress,
    scanned: ScannedFiles | None = None,
) -> tuple[Subject, Platform]:
    """Read one platform's image with its files; `scanned`: files that were read already.

    Raises:
        ImageInvalid, ArchiveUnsafe, BlobCorrupt, ImageNotFound: as from `read_filesystem`.
    """
    where = f"{descriptor.digest} in {transport.name}"
    data = read_listed(transport, descriptor)
    manifest = parse(data, descriptor.media_type, where)
    if isinstance(manifest, ImageIndex):
        raise ImageInvalid(f"{where} is an index inside of an index; audit it by its digest")
    config = read_config(transport, manifest.config)
    described = decode(data, _Layers, where).layers
    unreadable, foreign = _examinable(transport, described)
    if scanned is None or unreadable:
        scan = FileScan()
        scanned = ScannedFiles(
            read_filesystem(transport, manifest, observe=scan, skip=unreadable, progress=progress),
            scan,
        )
    files, scan = scanned.files, scanned.scan
    subject = Subject(
        tags=_tags(transport, top, name),
        pinned=name.startswith("sha256:"),
        manifest=manifest,
        config=config,
        files=files,
        texts=scan.texts(files),
        secrets=scan.all_secrets(),
        unchanged=scan.unchanged(),
        programs=scan.programs,
        owned=scan.packages.owns,
        unreadable=unreadable,
        foreign=foreign,
        signed=any(_is_signed(transport, digest_of(each)) for each in (top, descriptor)),
    )
    return subject, Platform(architecture=config.architecture, os=config.os, variant=config.variant)


def _examinable(
    transport: ImageSource, layers: Sequence[_Layer]
) -> tuple[dict[int, str], tuple[int, ...]]:
    """Layers that cannot be read, with the reason; and those that are kept elsewhere."""
    unreadable: dict[int, str] = {}
    foreign: list[int] = []
    for number, layer in enumerate(layers):
        kind = layer.media_type.rpartition(".")[2].replace("+", " ").split()[-1:]
        if layer.urls or "foreign" in layer.media_type or "nondistributable" in layer.media_type:
            foreign.append(number)
        if not layer.digest.startswith("sha256:"):
            unreadable[number] = f"the digest algorithm of {layer.digest[:40]} is not sha256"
        elif not set(kind) & _READABLE:
            unreadable[number] = f"the media type {layer.media_type!r} is not a plain layer"
        elif number in foreign and not transport.has_blob(Digest(layer.digest)):
            unreadable[number] = "it is not here"
    return unreadable, tuple(foreign)


def _tags(transport: ImageSource, top: Descriptor, name: str) -> tuple[str, ...]:
    """The name, and other tags with a number in them that point to the same image."""
    if name.startswith("sha256:"):
        return ()
    if any(character.isdigit() for character in name):
        return (name,)
    others = [tag for tag in transport.tags() if tag != name and any(c.isdigit() for c in tag)]
    others = [tag for tag in others if not is_attachment_tag(tag)]
    return (name, *tags_of_digest(transport, top.digest, others))


def _is_signed(transport: ImageSource, digest: Digest) -> bool:
    """True if something with the form of a signature is attached. It is not verified."""
    for referrer in transport.referrers(digest):
        text = f"{referrer.artifact_type} {referrer.media_type}".lower()
        if any(word in text for word in _SIGNATURES):
            return True
    try:
        transport.resolve(f"sha256-{digest.hex}.sig")
    except ImageNotFound:
        return False
    return True
