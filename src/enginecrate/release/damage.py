"""Which layers of an image are damaged: each is read for itself, and nothing is merged."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.errors import ArchiveUnsafe, EnginecrateError
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.reading.decompression import open_layer
from enginecrate.image.reading.filesystem import LIMITS
from enginecrate.image.transports.base import Place
from enginecrate.release.content.image import OpenedPlatform
from enginecrate.release.contents import Hashed
from enginecrate.release.unreachable import fault
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["damaged_layers"]

_PIECE = 1 << 20


def damaged_layers(
    place: Place, platform: OpenedPlatform, progress: Progress = no_progress
) -> Iterator[str]:
    """Layers whose bytes, or whose unpacked bytes, are not what their digests promise.

    Raises:
        RegistryUnavailable, RegistryDenied, OSError: one cannot be looked at.
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
            unpacked = _unpacked(place, layer)
        except EnginecrateError as exc:
            yield f"{where}: {fault(exc)}"
            continue
        if number < len(expected) and unpacked != expected[number]:
            yield (
                f"{where} unpacks to {unpacked}, and the configuration names "
                f"{expected[number]}: it is another layer"
            )


def _unpacked(place: Place, layer: Descriptor) -> Digest:
    most = min(LIMITS.unpacked_bytes, max(LIMITS.ratio_from, LIMITS.ratio * layer.size))
    with open_layer(place, layer) as tar:
        hashed, size = Hashed(tar), 0
        while piece := hashed.read(_PIECE):
            size += len(piece)
            if size > most:
                raise ArchiveUnsafe(f"{layer.digest} unpacks to more than {most:,} bytes")
    return hashed.digest
