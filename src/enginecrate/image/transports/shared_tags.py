"""Tags that several people write: signatures beside an image, and lists of referrers.

A writer adds to the tag; the entries of others stay.
Source: cosign, specs/SIGNATURE_SPEC.md; OCI Distribution Specification 1.1, "Referrers Tag Schema".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import msgspec

from enginecrate.errors import (
    BlobCorrupt,
    ImageInvalid,
    ImageNotFound,
    RegistryUnavailable,
    TagTaken,
)
from enginecrate.image.formats.oci import (
    CONFIG,
    Descriptor,
    History,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    RootFs,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import ImageTarget
from enginecrate.image.transports.documents import parse
from enginecrate.values import Digest

__all__ = ["MOST_SIGNATURES", "SIGNATURE", "signature_config", "write_shared"]

SIGNATURE = "dev.cosignproject.cosign/signature"
"""Annotation of a layer: the signature on its content, in base64."""
MOST_SIGNATURES = 1000

_BEGINNING = "0001-01-01T00:00:00Z"
_WRITES = 5
"""Tries to get entries into a tag that others write at the same time."""

_Document = ImageManifest | ImageIndex


def write_shared(transport: ImageTarget, tag: str, data: bytes, media_type: str) -> Descriptor:
    """Put a manifest under a tag together with the entries that are there already.

    Layers (of signatures) or entries (of a list) that are there come first and stay as they are.
    No transport locks tags: the result is read back, and written again when another's writing
    came between.

    Args:
        transport: all blobs of the manifest must be there.
        tag: such as `sha256-<hex>.sig`.
        data: the manifest.
        media_type: of it.

    Returns:
        The descriptor that the tag names now.

    Raises:
        TagTaken: one of them is a list and the other one is not.
        ImageInvalid: they are too many.
        RegistryUnavailable: another writer changes the tag all the time.
    """
    ours = parse(data, media_type, f"{tag} for {transport.name}")
    for _ in range(_WRITES):
        try:
            descriptor = transport.resolve(tag)
            before = transport.read_manifest(digest_of(descriptor))
        except (BlobCorrupt, ImageNotFound):  # what is damaged there is lost already
            transport.write_manifest(data, media_type, [tag])
            continue
        where = f"{tag} in {transport.name}"
        there = parse(before, descriptor.media_type, where)
        both = _merge(there, ours, where)
        if both is there:
            return descriptor
        if both is ours:
            transport.write_manifest(data, media_type, [tag])
        else:
            _write(transport, both, tag)
    raise RegistryUnavailable(
        f"{transport.name}: the tag {tag} does not keep what is written; another program writes it "
        "all the time: try again later"
    )


def signature_config(layers: Sequence[Descriptor]) -> bytes:
    """The configuration that cosign gives to signatures."""
    return encode(
        ImageConfig(
            created=_BEGINNING,
            architecture="",
            os="",
            rootfs=RootFs(diff_ids=tuple(one.digest for one in layers)),
            history=tuple(History(created=_BEGINNING) for _ in layers),
        )
    )


def _merge(there: _Document, ours: _Document, where: str) -> _Document:
    """One of the two when it has everything; else what is there with what is added."""
    notes = {**ours.annotations, **there.annotations}
    if isinstance(there, ImageIndex) and isinstance(ours, ImageIndex):
        entries, whole = _union(there.manifests, ours.manifests, lambda one: one.digest)
        both: _Document = msgspec.structs.replace(there, manifests=entries, annotations=notes)
    elif isinstance(there, ImageManifest) and isinstance(ours, ImageManifest):
        layers, whole = _union(there.layers, ours.layers, _signature)
        if len(layers) > MOST_SIGNATURES:
            raise ImageInvalid(
                f"{where} would have more than {MOST_SIGNATURES} signatures or documents; remove "
                "those that are not needed"
            )
        both = msgspec.structs.replace(there, layers=layers, annotations=notes)
    else:
        raise TagTaken(
            f"{where} is of another kind than what is copied; look who wrote it, and remove that "
            "tag there"
        )
    return {"there": there, "ours": ours}.get(whole, both)


def _union(
    there: Iterable[Descriptor],
    ours: Iterable[Descriptor],
    key: Callable[[Descriptor], Hashable],
) -> tuple[tuple[Descriptor, ...], str]:
    """Each one once, and which of the two has them all."""
    first, second = {key(one): one for one in there}, {key(one): one for one in ours}
    whole = "there" if second.keys() <= first.keys() else ""
    whole = whole or ("ours" if first.keys() <= second.keys() else "")
    return tuple({**second, **first}[one] for one in {**first, **second}), whole


def _signature(layer: Descriptor) -> Hashable:
    """Several keys sign the same content: layers differ in their signature alone."""
    return layer.digest, layer.annotations.get(SIGNATURE, "")


def _write(transport: ImageTarget, document: _Document, tag: str) -> None:
    if isinstance(document, ImageManifest) and document.config.media_type == CONFIG:
        config = signature_config(document.layers)
        described = Descriptor(media_type=CONFIG, digest=Digest.of(config), size=len(config))
        if not transport.has_blob(digest_of(described)):
            transport.write_blob(described, iter((config,)))
        document = msgspec.structs.replace(document, config=described)
    transport.write_manifest(encode(document), document.media_type, [tag])
