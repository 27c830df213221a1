"""Keeps of a JPEG what makes pixels: the tables, the frame and the scans of its first picture.

A decoder never gets to see texts, profiles, thumbnails, stray bytes, and what follows the end:
films of phones, further pictures, gain maps. Counting scans is exact in this way, too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from enginecrate.pipelines.formats import damaged
from enginecrate.pipelines.jpeg_segments import (
    ADOBE,
    EOI,
    EXIF,
    JFIF,
    SOF,
    SOS,
    TABLES,
    Segment,
    segments,
)

__all__ = ["MAX_SCANS", "PixelSegments", "pixel_segments"]

MAX_SCANS = 200
"""Progressive JPEGs have about 10; each scan costs a pass over all pixels."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
_EXIF_PREFIX = b"Exif\0\0"
_COLOUR_PREFIXES = {JFIF: b"JFIF\0", ADOBE: b"Adobe"}
_ADOBE_BYTES = 12
_PIXELS = TABLES | SOF | {SOS, EOI}
_RESTARTS = range(0xD0, 0xD8)
_PROGRESSIVE = {0xC2, 0xCA}
_ALL_COEFFICIENTS = (1 << 64) - 1

_FILL = re.compile(rb"\xff{2,}")
_LONG_FILL = b"\xff" * 64
_PIECE = 1 << 18

_FILLING = bytes(1 + byte % 254 for byte in hashlib.shake_256(b"JPEG").digest(1024))
"""Data that looks like a scan's. No byte is 0 or 255, nor is one of its complement."""

_COMPLEMENT = bytes(255 - byte for byte in _FILLING)


class PixelSegments(NamedTuple):
    """A JPEG without what makes no pixels.

    data: the picture, with an end marker.
    other: empty, or the same picture where there was no end marker. Both go on with made-up data,
        which differs in every bit: only when all of the picture was there, they look the same.
    exif: content of the EXIF segments, with its prefix; empty when there is none.
    plain_ink: four components, and no Adobe marker. Adobe's programs store ink inverted.
    """

    data: bytes
    other: bytes
    exif: bytes
    plain_ink: bool


def pixel_segments(data: bytes) -> PixelSegments:
    """Check a JPEG's segments up to the end of its first picture, and keep those that make pixels.

    Raises:
        ImageUndecodable: a segment is cut off, there are too many scans, or there is no end
            marker and parts of the picture are missing for certain.
    """
    found = list(segments(data))
    kept = [segment for segment in found if _makes_pixels(data, segment)]
    frames = [segment for segment in kept if segment.marker in SOF]
    scans = [segment for segment in kept if segment.marker == SOS]
    if not frames or not scans:
        raise damaged("JPEG", "there is no frame header before its data")
    if len(scans) > MAX_SCANS:
        raise damaged("JPEG", f"it has more than {MAX_SCANS} scans")
    ended = found[-1].marker == EOI
    try:
        inks = data[frames[0].content + 5] == 4
        whole = ended or _has_all_scans(data, frames[0], scans)
    except (IndexError, ValueError):
        raise damaged("JPEG", "the header of its frame or of a scan makes no sense") from None
    if not whole:
        raise damaged("JPEG", f"it ends after {len(data)} bytes, and scans are missing")
    picture = b"".join((_START, *(part for one in kept for part in _parts(data, one))))
    other = b""
    if not ended:
        picture, other = _continued(picture.rstrip(b"\xff"), _next_restart(data, scans[-1]))
    plain_ink = inks and not any(
        segment.marker == ADOBE and segment.end - segment.content >= _ADOBE_BYTES
        for segment in kept
    )
    return PixelSegments(picture, other, _exif(data, found), plain_ink)


def _makes_pixels(data: bytes, segment: Segment) -> bool:
    prefix = _COLOUR_PREFIXES.get(segment.marker)
    if prefix is not None:
        return data.startswith(prefix, segment.content, segment.end)
    return segment.marker in _PIXELS


def _parts(data: bytes, segment: Segment) -> Iterator[bytes | memoryview]:
    """A segment. A scan loses its long runs of fill bytes (T.81, B.1.1.2): Pillow's reader takes
    time that grows with the square of their number.
    """
    whole = memoryview(data)[segment.start : segment.end]
    if len(whole) < _PIECE or data.find(_LONG_FILL, segment.start, segment.end) < 0:
        yield whole
        return
    for start in range(0, len(whole), _PIECE):  # other threads run between two
        yield _FILL.sub(b"\xff", whole[start : start + _PIECE])


def _exif(data: bytes, found: Iterable[Segment]) -> bytes:
    """The EXIF block; large ones are divided among several segments, each with the prefix."""
    blocks = [
        data[segment.content : segment.end]
        for segment in found
        if segment.marker == EXIF and data.startswith(_EXIF_PREFIX, segment.content, segment.end)
    ]
    return b"".join((*blocks[:1], *(block[len(_EXIF_PREFIX) :] for block in blocks[1:])))


def _continued(picture: bytes, restart: bytes) -> tuple[bytes, bytes]:
    first, second = (
        b"".join((picture, filling, restart, filling, _END)) for filling in (_FILLING, _COMPLEMENT)
    )
    return first, second


def _next_restart(data: bytes, scan: Segment) -> bytes:
    """The restart marker that would come next in a scan: without it decoders skip what follows."""
    places = [data.rfind(b"\xff%c" % marker, scan.content, scan.end) for marker in _RESTARTS]
    last = max(range(len(places)), key=places.__getitem__) if max(places) >= 0 else -1
    return b"\xff%c" % _RESTARTS[(last + 1) % len(_RESTARTS)]


def _has_all_scans(data: bytes, frame: Segment, scans: Iterable[Segment]) -> bool:
    """True when the scans have every coefficient of every component, to its last bit."""
    missing = {
        data[frame.content + 6 + 3 * number]: _ALL_COEFFICIENTS
        for number in range(data[frame.content + 5])
    }
    for scan in scans:
        count = data[scan.content]
        components = data[scan.content + 1 : scan.content + 1 + 2 * count : 2]
        first, last, bits = data[scan.content + 1 + 2 * count : scan.content + 4 + 2 * count]
        if frame.marker not in _PROGRESSIVE:
            first, last, bits = 0, 63, 0
        if bits & 0x0F == 0:
            for component in components:
                sent = (1 << last + 1) - (1 << first)
                missing[component] = missing.get(component, 0) & ~sent
    return not any(missing.values())
