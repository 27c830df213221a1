"""Reads an image's format and size from its first bytes, before anything is decoded.

Our own few lines, because a decoder may reserve memory for the whole image as soon as it sees
the header, and because only these four formats shall be tried.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from enginecrate.errors import ImageFormatUnsupported
from enginecrate.pipelines.formats import ACCEPTED, damaged, unsupported
from enginecrate.pipelines.jpeg_segments import EOI, SOF, SOS, segments

__all__ = ["Format", "ImageHeader", "read_header", "read_size"]

Format = Literal["JPEG", "PNG", "WebP", "BMP"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BMP_HEADER_SIZES = {12, 40, 52, 56, 64, 108, 124}
_BMP_RLE = {1, 2}

_JPEG_UNREAD = {
    0xC3: "lossless",
    0xCB: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
}
"""Frame headers of T.81 for which common decoders have no code."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of an encoded image. Width and height as stored, before orientation."""

    format: Format
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.format} image of {self.width}x{self.height} pixels"


def read_header(data: bytes) -> ImageHeader:
    """Recognise an image by its magic bytes and read its size.

    Raises:
        ImageFormatUnsupported: it is not JPEG, PNG, WebP or BMP; the message says what it is.
        ImageUndecodable: its header is cut off or makes no sense.
    """
    name, width, height = read_size(data)
    if width < 1 or height < 1:
        raise damaged(name, f"its header says {width}x{height} pixels")
    return ImageHeader(name, width, height)


def read_size(data: bytes) -> tuple[Format, int, int]:
    """The format, and the width and height that the header states, sensible or not.

    Raises:
        ImageFormatUnsupported, ImageUndecodable: as `read_header`.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return "JPEG", *_jpeg_size(data)
        if data.startswith(PNG_SIGNATURE):
            return "PNG", *_png_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return "WebP", *_webp_size(data)
        if _is_bmp(data):
            return "BMP", *_bmp_size(data)
    except (struct.error, IndexError) as exc:
        name = {0xFF: "JPEG", 0x89: "PNG", 0x52: "WebP"}.get(data[0], "BMP")
        raise damaged(name, f"it ends within its header, after {len(data)} bytes") from exc
    raise unsupported(data)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """ITU-T T.81, B.2.2: the first frame header."""
    for marker, _, content, _ in segments(data):
        if marker in (SOS, EOI):
            break
        if marker in SOF:
            precision, height, width = struct.unpack_from(">BHH", data, content)
            _check_jpeg_process(marker, precision)
            return width, height
    raise damaged("JPEG", "there is no frame header before its data")


def _check_jpeg_process(marker: int, precision: int) -> None:
    process = _JPEG_UNREAD.get(marker) or ("" if precision <= 8 else f"{precision}-bit")
    if precision > 16:
        raise damaged("JPEG", f"its frame header says {precision} bits for each colour")
    if process:
        raise ImageFormatUnsupported(
            f"{process} JPEG images are not accepted; save it as an ordinary JPEG with 8 bits for "
            f"each colour, or as a PNG ({ACCEPTED} are accepted)"
        )


def _png_size(data: bytes) -> tuple[int, int]:
    """PNG specification, 11.2.1 IHDR."""
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise damaged("PNG", "it does not begin with an IHDR chunk")
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    """RFC 9649: the size of the canvas, or of the only frame in the simple formats."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return (high_w << 16 | low_w) + 1, (high_h << 16 | low_h) + 1
    if kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature != 0x2F:
            raise damaged("WebP", "its lossless data does not begin with 2f")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        start, width, height = struct.unpack_from("<3sHH", data, 23)
        if start != b"\x9d\x01\x2a":
            raise damaged("WebP", "its lossy data does not begin with a key frame")
        return width & 0x3FFF, height & 0x3FFF
    if len(data) < 16:
        raise IndexError
    raise damaged("WebP", f"it begins with an unknown chunk {kind!r}")


def _is_bmp(data: bytes) -> bool:
    # "BM" alone also begins many a text, so the size of the second header must make sense too.
    return data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES


def _bmp_size(data: bytes) -> tuple[int, int]:
    """Windows BITMAPCOREHEADER and BITMAPINFOHEADER; a negative height means top row first."""
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height, _planes, _bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in _BMP_RLE:
        raise ImageFormatUnsupported(
            "run-length encoded BMP images are not accepted; save it as an uncompressed BMP or "
            f"as a PNG ({ACCEPTED} are accepted)"
        )
    return width, abs(height)
