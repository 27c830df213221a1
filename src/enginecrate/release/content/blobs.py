"""The stored bytes of an image: digests, sizes and the digests of the unpacked layers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from enginecrate.errors import ArchiveUnsafe, BlobCorrupt, EnginecrateError, ImageNotFound
from enginecrate.image.audit.subject_reader import ScannedFiles
from enginecrate.image.formats.oci import Descriptor, ImageManifest, decode, digest_of
from enginecrate.image.reading.decompression import open_layer
from enginecrate.image.reading.filesystem import LIMITS
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.content.files import Contents, Hashed, read_whole_image
from enginecrate.release.content.image import OpenedPlatform
from enginecrate.release.documents.artifacts import MAX_MANIFEST
from enginecrate.release.signatures.cosign import signature_tag
from enginecrate.release.signatures.image_signatures import ImageSignatures
from enginecrate.release.signatures.sigstore_bundle import BUNDLE_FAMILY
from enginecrate.release.unreachable import fault
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["ContentRecord", "attached_problems", "layer_problems", "read_platform"]

_PIECE = 1 << 20


@dataclass(slots=True)
class ContentRecord:
    """A record of what was read without a fault.

    blobs: how many. others: attachments that no release lists, which were not read.
    contents, seen: by the digest of a platform.
    """

    blobs: int = 0
    others: int = 0
    contents: dict[str, Contents] = field(default_factory=dict)
    seen: dict[str, ScannedFiles] = field(default_factory=dict)


def read_platform(
    transport: ImageSource,
    platform: OpenedPlatform,
    record: ContentRecord,
    progress: Progress = no_progress,
) -> Iterator[str]:
    """Read every layer of a platform, and compare it with its digests.

    Sound layers are read once. Where something is wrong they are read again, each for itself, to
    name what is damaged.

    Returns:
        One sentence for each fault.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: a layer cannot be reached.
    """
    expected = platform.config.rootfs.diff_ids
    try:
        whole = read_whole_image(transport, platform.manifest, progress)
    except EnginecrateError as exc:
        words, is_named = fault(exc), False
        for problem in _damaged_layers(transport, platform, progress):
            is_named |= words in problem
            yield problem
        if not is_named:
            yield f"{platform.platform}: {words}"
        return
    record.blobs += len(platform.manifest.layers)
    if whole.unpacked == expected:
        digest = platform.descriptor.digest
        record.contents[digest], record.seen[digest] = whole.contents, whole.seen
        return
    if len(whole.unpacked) != len(expected):
        yield (
            f"{platform.platform} has {len(whole.unpacked)} layers, and its configuration names "
            f"{len(expected)}: a layer was added or taken away"
        )
    for number, (actual, named) in enumerate(zip(whole.unpacked, expected, strict=False), 1):
        if actual != named:
            yield (
                f"layer {number} of {platform.platform} unpacks to {actual}, and the configuration "
                f"names {named}: it is another layer"
            )


def layer_problems(platform: OpenedPlatform, layers: tuple[str, ...]) -> list[str]:
    """Compare the layers of a platform with those of the signed release."""
    present = tuple(one.digest for one in platform.manifest.layers)
    extra = [one for one in present if one not in layers]
    missing = [one for one in layers if one not in present]
    words = [f"the layer {one} is not in the signed release" for one in extra]
    return words + [f"the layer {one} of the signed release is missing" for one in missing]


def attached_problems(
    signatures: ImageSignatures,
    subjects: Iterable[Digest],
    listed: Collection[str],
    record: ContentRecord,
) -> Iterator[str]:
    """Read what is attached to manifests and counts: signatures, and what a release lists.

    Everyone who may push can attach more. That is counted, and not read.

    Args:
        signatures: what lies beside the images.
        subjects: the manifests.
        listed: digests of the artifacts that the release lists.
        record: counts what was read.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: something cannot be reached.
    """
    for subject in subjects:
        try:
            there = signatures.transport.referrers(subject)
            manifests = list(_signature_manifests(signatures.transport, subject))
        except EnginecrateError as exc:
            yield f"the list of what is attached to {subject}: {fault(exc)}"
            continue
        # Bundles and payloads were read where they are judged: what is damaged does not count.
        bundles = [one for one in there if one.artifact_type.startswith(BUNDLE_FAMILY)]
        ours = [one for one in there if one.digest in listed]
        record.blobs += 2 * len(signatures.bundles(subject)[0])
        record.others += len(there) - len(bundles) - len(ours)
        for descriptor in (*ours, *manifests):
            try:
                is_ours = descriptor in ours
                record.blobs += _read_artifact(signatures.transport, descriptor, layers=is_ours)
            except EnginecrateError as exc:
                yield f"what is attached to {subject.short}: {fault(exc)}"


def _damaged_layers(
    transport: ImageSource, platform: OpenedPlatform, progress: Progress = no_progress
) -> Iterator[str]:
    """Layers whose bytes, or whose unpacked bytes, are not what their digests promise.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: one cannot be reached.
    """
    layers, expected = platform.manifest.layers, platform.config.rootfs.diff_ids
    if len(layers) != len(expected):
        yield (
            f"{platform.platform} has {len(layers)} layers, and its configuration names "
            f"{len(expected)}: a layer was added or taken away"
        )
    for number, layer in enumerate(layers):
        progress("look for the damaged layer", number, len(layers))
        where = f"layer {number + 1} of {platform.platform}"
        try:
            unpacked = _unpacked(transport, layer)
        except EnginecrateError as exc:
            yield f"{where}: {fault(exc)}"
            continue
        if number < len(expected) and unpacked != expected[number]:
            yield (
                f"{where} unpacks to {unpacked}, and the configuration names "
                f"{expected[number]}: it is another layer"
            )


def _unpacked(transport: ImageSource, layer: Descriptor) -> Digest:
    most = min(LIMITS.unpacked_bytes, max(LIMITS.ratio_from, LIMITS.ratio * layer.size))
    with open_layer(transport, layer) as tar:
        hashed, size = Hashed(tar), 0
        while piece := hashed.read(_PIECE):
            size += len(piece)
            if size > most:
                raise ArchiveUnsafe(f"{layer.digest} unpacks to more than {most:,} bytes")
    return hashed.digest


def _signature_manifests(transport: ImageSource, subject: Digest) -> Iterator[Descriptor]:
    try:
        yield transport.resolve(signature_tag(subject))
    except ImageNotFound:
        return


def _read_artifact(transport: ImageSource, descriptor: Descriptor, *, layers: bool) -> int:
    digest = digest_of(descriptor)
    if descriptor.size > MAX_MANIFEST:
        raise BlobCorrupt(f"{digest} is too large for a manifest")
    manifest = decode(transport.read_manifest(digest), ImageManifest, f"the manifest {digest}")
    for blob in (manifest.config, *(manifest.layers if layers else ())):
        for _ in transport.read_blob(blob):
            pass
    return 1 + len(manifest.layers)
