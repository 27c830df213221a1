"""Checks a PNG's chunks and keeps only those that make pixels.

A PNG may carry compressed texts and colour profiles that unpack to a thousand times their size.
A decoder would unpack them although no model needs them, so it never gets to see them.
"""

from __future__ import annotations

import struct
import zlib

from enginecrate.pipelines.formats import damaged
from enginecrate.pipelines.headers import PNG_SIGNATURE

__all__ = ["MAX_CHUNKS", "pixel_chunks"]

MAX_CHUNKS = 65_536
"""Encoders write chunks of 8 KiB and more; a file of millions of tiny chunks is an attack."""

_KEPT_ANCILLARY = b"tRNS"
_EXIF = b"eXIf"
_CHUNK_OVERHEAD = 12


def pixel_chunks(data: bytes) -> tuple[bytes, bytes]:
    """Check that a PNG is whole and drop what does not make pixels.

    An animated PNG loses its further frames in this way: its default image stays.

    Returns:
        The PNG with its critical chunks and its transparency only; and the content of its
        EXIF chunk, empty when there is none.

    Raises:
        ImageUndecodable: a chunk is cut off, there is no end chunk, or the checksum of a chunk is
            wrong that makes pixels. Any other chunk with a wrong checksum is left out.
    """
    view = memoryview(data)
    kept: list[memoryview] = [view[: len(PNG_SIGNATURE)]]
    exif = b""
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        kind, end = _find_chunk(view, position)
        critical = kind[0] < ord("a")
        if not (critical or kind in (_KEPT_ANCILLARY, _EXIF)):
            pass
        elif not _is_whole(view, position, end):
            if critical:
                reason = f"the checksum of its {_name(kind)} chunk at byte {position} is wrong"
                raise damaged("PNG", reason)
        elif critical or kind == _KEPT_ANCILLARY:
            kept.append(view[position:end])
        else:
            exif = bytes(view[position + 8 : end - 4])
        if kind == b"IEND":
            return (data if _adjoin(kept, end) else b"".join(kept)), exif
        position = end
    raise damaged("PNG", f"it has more than {MAX_CHUNKS} chunks")


def _find_chunk(view: memoryview, position: int) -> tuple[bytes, int]:
    """The kind of the chunk at `position`, and where it ends."""
    if position + _CHUNK_OVERHEAD > len(view):
        raise damaged("PNG", f"it ends after {len(view)} bytes, without an end chunk")
    length, kind = struct.unpack_from(">I4s", view, position)
    end = position + _CHUNK_OVERHEAD + length
    if end > len(view):
        raise damaged("PNG", f"it ends after {len(view)} bytes, within its {_name(kind)} chunk")
    return bytes(kind), end


def _is_whole(view: memoryview, position: int, end: int) -> bool:
    return zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")


def _adjoin(kept: list[memoryview], end: int) -> bool:
    return sum(len(part) for part in kept) == end
