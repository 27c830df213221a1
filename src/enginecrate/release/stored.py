"""Every byte of an image: digests, sizes and the digests of the unpacked layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from enginecrate.errors import BlobCorrupt, EnginecrateError, ImageNotFound
from enginecrate.image.audit.opening import Seen
from enginecrate.image.oci import Descriptor, ImageManifest, decode, digest_of
from enginecrate.image.places.place import Place
from enginecrate.release.attach import MAX_MANIFEST
from enginecrate.release.contents import Contents
from enginecrate.release.cosign import signature_tag
from enginecrate.release.opened import OpenedImage, OpenedPlatform
from enginecrate.release.whole_image import read_whole_image
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["Stored", "layer_problems", "read_everything", "read_layers"]


@dataclass(slots=True)
class Stored:
    """What was read. problems: one sentence each.

    contents, seen: by the digest of a platform; `seen` has only what was read without a fault.
    """

    blobs: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    contents: dict[str, Contents] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)


def read_layers(place: Place, image: OpenedImage, progress: Progress = no_progress) -> Stored:
    """Read every layer of every platform, and compare it with its digests.

    Sound layers are read once. Where something is damaged they are read again, each for itself, to
    name what is wrong with every one of them.
    """
    stored = Stored()
    total = sum(layer.size for one in image.platforms for layer in one.manifest.layers)

    def seen(size: int) -> None:
        stored.bytes += size
        progress("read the layers", stored.bytes, total)

    for platform in image.platforms:
        if _read_at_once(place, platform, stored, progress):
            continue
        contents = stored.contents[platform.descriptor.digest] = Contents()
        layers, expected = platform.manifest.layers, platform.config.rootfs.diff_ids
        if len(layers) != len(expected):
            stored.problems.append(
                f"{platform.platform} has {len(layers)} layers, and its configuration names "
                f"{len(expected)}: a layer was added or taken away"
            )
        for number, layer in enumerate(layers):
            where = f"layer {number + 1} of {platform.platform}"
            try:
                unpacked = contents.add_layer(place, layer, where, seen)
            except EnginecrateError as exc:
                stored.problems.append(f"{where}: {exc}")
                continue
            if number < len(expected) and unpacked != expected[number]:
                stored.problems.append(
                    f"{where} unpacks to {unpacked}, and the configuration names "
                    f"{expected[number]}: it is another layer"
                )
            stored.blobs += 1
    return stored


def _read_at_once(
    place: Place, platform: OpenedPlatform, stored: Stored, progress: Progress
) -> bool:
    """Read a sound platform in one pass, for all that looks at it. False: it is not sound."""
    layers = platform.manifest.layers
    try:
        whole = read_whole_image(place, platform.manifest, progress)
    except EnginecrateError:
        return False
    if whole.unpacked != platform.config.rootfs.diff_ids:
        return False
    digest = platform.descriptor.digest
    stored.contents[digest], stored.seen[digest] = whole.contents, whole.seen
    stored.blobs += len(layers)
    stored.bytes += sum(one.size for one in layers)
    return True


def read_everything(place: Place, subjects: Iterable[Digest]) -> tuple[int, list[str]]:
    """Read what is attached to manifests: signatures, SBOMs, statements, bundles.

    Returns:
        How many blobs there are, and what is wrong with some.
    """
    count, problems = 0, []
    for subject in subjects:
        try:
            listed = list(place.referrers(subject))
        except EnginecrateError as exc:
            problems.append(f"the list of what is attached to {subject}: {exc}")
            listed = []
        for descriptor in (*listed, *_signatures(place, subject)):
            try:
                count += _read_artifact(place, descriptor)
            except EnginecrateError as exc:
                problems.append(f"what is attached to {subject.short}: {exc}")
    return count, problems


def layer_problems(platform: OpenedPlatform, layers: tuple[str, ...]) -> list[str]:
    """Compare the layers of a platform with those of the signed release."""
    found = tuple(one.digest for one in platform.manifest.layers)
    extra = [one for one in found if one not in layers]
    missing = [one for one in layers if one not in found]
    words = [f"the layer {one} is not in the signed release" for one in extra]
    return words + [f"the layer {one} of the signed release is missing" for one in missing]


def _signatures(place: Place, subject: Digest) -> Iterator[Descriptor]:
    try:
        yield place.resolve(signature_tag(subject))
    except ImageNotFound:
        return


def _read_artifact(place: Place, descriptor: Descriptor) -> int:
    digest = digest_of(descriptor)
    if descriptor.size > MAX_MANIFEST:
        raise BlobCorrupt(f"{digest} is too large for a manifest")
    manifest = decode(place.read_manifest(digest), ImageManifest, f"the manifest {digest}")
    for blob in (manifest.config, *manifest.layers):
        for _ in place.read_blob(blob):
            pass
    return 1 + len(manifest.layers)
