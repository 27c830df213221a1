"""Walks the segments of a JPEG, as ITU-T T.81, annex B, has them, and forgives what decoders do.

Cameras and old tools leave stray bytes between segments. Decoders look for the next marker and go
on, and so does this. What follows the end marker is never looked at: phones append films there,
and other pictures.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from enginecrate.pipelines.formats import damaged

__all__ = ["ADOBE", "EOI", "EXIF", "JFIF", "MAX_SEGMENTS", "MAX_STRAY", "SOF", "SOS", "TABLES",
           "Segment", "segments"]  # fmt: skip

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
JFIF, EXIF, ADOBE = 0xE0, 0xE1, 0xEE
SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Frame headers."""

TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
"""Huffman tables, arithmetic conditioning, quantization tables, the restart interval."""

_KNOWN = SOF | TABLES | {SOI, EOI, SOS, 0xDC, *range(0xE0, 0xF0), 0xFE}

MAX_SEGMENTS = 4_096
"""Most files have about 10. A thermal camera's may have a thousand in 64 MB."""

MAX_STRAY = 65_536
"""Most bytes between two segments that are passed over."""

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""Restart markers, 01 and 00 (a data byte of FF) are part of what is around them."""

_WINDOW = 1 << 17
"""Bytes that are searched in one call: other threads run between two."""


class Segment(NamedTuple):
    """A segment. `start`: of its marker; `content`: behind its length; `end`: of all of it.

    The data of a scan belongs to its segment.
    """

    marker: int
    start: int
    content: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments up to the end marker, which comes last where there is one.

    Args:
        data: begins with the start marker.

    Raises:
        ImageUndecodable: it ends within a segment, or before its first scan; or there is
            something that no decoder passes over.
    """
    position, in_header = 2, True
    for _ in range(MAX_SEGMENTS):
        start = _next_marker(data, position, min(len(data), position + MAX_STRAY))
        if start < 0 and position + MAX_STRAY < len(data):
            raise damaged("JPEG", f"no marker within {MAX_STRAY} bytes from byte {position}")
        if start < 0:
            raise _cut_off(data, in_header)
        marker = data[start + 1]
        if marker == EOI:
            yield Segment(marker, start, start + 2, start + 2)
            return
        segment = _segment(data, marker, start, in_header)
        if marker == SOS:
            in_header = False
            end = _next_marker(data, segment.end, len(data))
            segment = segment._replace(end=len(data) if end < 0 else end)
        yield segment
        position = segment.end
        if marker == SOS and (position == len(data) or data[position + 1] == SOI):
            return
    raise damaged("JPEG", f"it has more than {MAX_SEGMENTS} segments")


def _segment(data: bytes, marker: int, start: int, in_header: bool) -> Segment:
    if marker == SOI:
        raise damaged("JPEG", f"another picture begins within its header, at byte {start}")
    if marker not in _KNOWN:
        raise damaged("JPEG", f"the marker ff {marker:02x} at byte {start} is unknown")
    try:
        (length,) = struct.unpack_from(">H", data, start + 2)
    except struct.error:
        raise _cut_off(data, in_header) from None
    if length < 2:
        raise damaged("JPEG", f"the segment at byte {start} has no length")
    if start + 2 + length > len(data):
        raise _cut_off(data, in_header)
    return Segment(marker, start, start + 4, start + 2 + length)


def _next_marker(data: bytes, position: int, end: int) -> int:
    """Where the next marker begins; -1 when there is none before `end`."""
    while position < end:
        match = _MARKER.search(data, position, min(end, position + _WINDOW) + 1)
        if match:
            return match.start()
        position += _WINDOW
    return -1


def _cut_off(data: bytes, in_header: bool) -> Exception:
    where = "within its header" if in_header else "between its scans"
    return damaged("JPEG", f"it ends {where}, after {len(data)} bytes")
