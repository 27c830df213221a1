"""The cost of decoding a photo, from its header and format alone, before anything is decoded.

The figures are upper bounds of what was measured on photos of 16 megapixels: the table is in
docs/container.md, and `tests/pipelines/test_decode_cost.py` measures some of them again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from enginecrate.errors import PipelineError
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.headers import Format, read_size
from enginecrate.pipelines.jpeg_segments import SOF, SOS, segments
from enginecrate.pipelines.photo_decoder import jpeg_fraction

__all__ = ["NO_COST", "DecodeCost", "EncodedFacts", "array_cost", "cost_of", "read_facts"]

_HEADER_SEGMENTS = 512
"""Segments of a JPEG that are looked at for its frame header. Most files have about 10 there."""

_SCAN_MARK = b"\xff\xda"
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_NS_A_BYTE = 8.0
"""Nanoseconds for a byte of a compressed file: Huffman codes, inflating."""

_NS_A_SCAN = 1.2
_COEFFICIENT_BYTES = 2
_ROW_BYTES = 4
"""Bytes of a resized pixel between the two passes of a resize."""

_ARRAY_BYTES, _ARRAY_NS = 10, 5.0
"""For each pixel, when a pipeline class of the vendor's own takes an array: turned upright, as an
array, and with its channels in order."""

_PNG_BYTES = {0: 5, 2: 4, 3: 5, 4: 13, 6: 9}
_PNG_TRANSPARENT_BYTES = {0: 10, 2: 13, 3: 10}
_PNG_WIDE_GREY_BYTES = 7
_TRANSPARENCY_NS = 8.0


class DecodeCost(NamedTuple):
    """Memory that is taken at most, and the time of one core of 2025, which is an estimate."""

    bytes: int
    milliseconds: float


NO_COST = DecodeCost(0, 0.0)


@dataclass(frozen=True, slots=True)
class EncodedFacts:
    """The costs of an encoded photo, for each of its pixels.

    file_bytes: of the encoded photo.
    decoded: bytes for a decoded pixel; at a fraction there are fewer.
    whole: bytes for each pixel of the photo, whatever the fraction: coefficients.
    ns: nanoseconds for a pixel of the photo.
    """

    format: Format
    width: int
    height: int
    file_bytes: int
    decoded: float
    whole: float
    ns: float

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def file_ns(self) -> float:
        """Nanoseconds for the bytes of the file."""
        return 0.0 if self.format == "BMP" else self.file_bytes * _NS_A_BYTE

    def fraction(self, least: tuple[int, int]) -> int:
        """The fraction at which it is decoded when so many pixels are enough."""
        return jpeg_fraction(self.width, self.height, least) if self.format == "JPEG" else 1


def cost_of(payload: bytes | memoryview, limits: Limits) -> DecodeCost:
    """The cost of decoding a photo at its full size into an array.

    Nothing, where it is refused before anything is decoded: too large, or no photo.
    """
    facts = read_facts(payload, limits)
    return NO_COST if facts is None else array_cost(facts)


def array_cost(facts: EncodedFacts) -> DecodeCost:
    """The cost of all pixels as an array."""
    size = facts.pixels * (facts.decoded + facts.whole + _ARRAY_BYTES) + 2 * facts.file_bytes
    time = facts.pixels * (facts.ns + _ARRAY_NS) + facts.file_ns
    return DecodeCost(round(size), time / 1e6)


def read_facts(payload: bytes | memoryview, limits: Limits) -> EncodedFacts | None:
    """Read a header. In time that does not grow with the picture; a file's bytes are only counted.

    Returns:
        `None` for what is refused before anything is decoded.
    """
    data = bytes(payload)
    if len(data) > limits.max_bytes:
        return None
    try:
        facts = _jpeg(data, limits) if data.startswith(b"\xff\xd8") else _other(data)
    except (PipelineError, struct.error, IndexError):
        return None
    return facts if 0 < facts.pixels <= limits.max_pixels else None


def _jpeg(data: bytes, limits: Limits) -> EncodedFacts:
    for marker, _, content, _ in islice(segments(data), _HEADER_SEGMENTS):
        if marker == SOS:
            break
        if marker in SOF:
            height, width, count = struct.unpack_from(">HHB", data, content + 1)
            scans = _scans(data, content, count, progressive=marker in _PROGRESSIVE)
            whole = 0.0
            ns = 2.0
            if scans > 1 or marker in _PROGRESSIVE:
                whole = _COEFFICIENT_BYTES * _coefficients(data, content, count)
                ns += scans * _NS_A_SCAN * whole / _COEFFICIENT_BYTES / 2
            decoded = 12 if count == 4 else 5
            return EncodedFacts("JPEG", width, height, len(data), decoded, whole, ns)
    side = int(limits.max_pixels**0.5)  # its frame header is far away: the worst
    return EncodedFacts("JPEG", side, side, len(data), 12, 8, 20.0)


def _scans(data: bytes, frame: int, count: int, *, progressive: bool) -> int:
    """The number of scans; 1 for nearly all that are not progressive, without counting."""
    first = data.find(_SCAN_MARK, frame)
    if not progressive and data[first + 4 : first + 5] == bytes([count]):
        return 1
    return data.count(_SCAN_MARK, frame)


def _coefficients(data: bytes, content: int, count: int) -> float:
    """Coefficients for each pixel: 1 for grey, 3 for colour, 1.5 for the usual subsampling."""
    factors = [data[content + 7 + 3 * number] for number in range(count)]
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    return sum(areas) / max(1, max(factor >> 4 for factor in factors)) / max(
        1, max(factor & 15 for factor in factors)
    )  # fmt: skip


def _other(data: bytes) -> EncodedFacts:
    name, width, height = read_size(data)
    decoded, ns = 16.0, 28.0  # WebP
    if name == "PNG":
        decoded, ns = _png(data)
    elif name == "BMP":
        decoded, ns = _bmp(data), 6.0
    return EncodedFacts(name, width, height, len(data), decoded, 0, ns)


def _png(data: bytes) -> tuple[float, float]:
    """PNG specification, 11.2.1: depth and colour type; transparency of some colours by `tRNS`."""
    depth, colour = data[24], data[25]
    decoded = _PNG_BYTES.get(colour, 13)
    if colour in _PNG_TRANSPARENT_BYTES and b"tRNS" in data:
        return _PNG_TRANSPARENT_BYTES[colour], 8.0 + _TRANSPARENCY_NS
    if depth == 16 and colour == 0:
        decoded = _PNG_WIDE_GREY_BYTES
    return decoded, 8.0 + (_TRANSPARENCY_NS if colour in (4, 6) else 0.0)


def _bmp(data: bytes) -> float:
    header = int.from_bytes(data[14:18], "little")
    bits = int.from_bytes(data[24:26] if header == 12 else data[28:30], "little")
    return 5.0 if bits <= 8 else 4.0
