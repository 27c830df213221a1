"""The orientation of a photo: how the camera was held."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from PIL.Image import Transpose

__all__ = ["Orientation", "read_orientation"]

Box = tuple[float, float, float, float]

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_PREFIXES = re.compile(rb"(?:Exif\0\0)*")
_TIFF = {b"II*\0": "<", b"MM\0*": ">", b"II\0*": "<", b"MM*\0": ">"}
"""The order of bytes by the beginning. In the last two some programs wrote the 42 the wrong way."""


class Orientation(NamedTuple):
    """The turn that makes stored pixels upright, by the values of EXIF tag 0x0112 (CIPA DC-008).

    swaps: width and height change places.
    flips_x, flips_y: of a stored coordinate, after the swap.
    transpose: Pillow's operation that turns the stored image upright.
    """

    swaps: bool
    flips_x: bool
    flips_y: bool
    transpose: Transpose | None

    def oriented_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, exchanged when the orientation asks for it. Works both ways."""
        return (height, width) if self.swaps else (width, height)

    def stored_box(self, box: Box) -> Box:
        """A box of the upright image as a box of the stored one; both in fractions 0..1."""
        x1, y1, x2, y2 = (box[1], box[0], box[3], box[2]) if self.swaps else box
        if self.flips_x:
            x1, x2 = 1 - x2, 1 - x1
        if self.flips_y:
            y1, y2 = 1 - y2, 1 - y1
        return x1, y1, x2, y2


_UPRIGHT = Orientation(False, False, False, None)

_ORIENTATIONS = {
    1: _UPRIGHT,
    2: Orientation(False, True, False, Transpose.FLIP_LEFT_RIGHT),
    3: Orientation(False, True, True, Transpose.ROTATE_180),
    4: Orientation(False, False, True, Transpose.FLIP_TOP_BOTTOM),
    5: Orientation(True, False, False, Transpose.TRANSPOSE),
    6: Orientation(True, False, True, Transpose.ROTATE_270),
    7: Orientation(True, True, True, Transpose.TRANSVERSE),
    8: Orientation(True, True, False, Transpose.ROTATE_90),
}


def read_orientation(exif: bytes) -> Orientation:
    """The orientation in an EXIF block: without a prefix, with one, or with several, as some write.

    Upright when there is none or when the block is damaged, as every viewer does.
    """
    try:
        return _ORIENTATIONS.get(_orientation_value(_without_prefix(exif)), _UPRIGHT)
    except struct.error:
        return _UPRIGHT


def _without_prefix(exif: bytes) -> bytes:
    match = _PREFIXES.match(exif)
    return exif[match.end() :] if match else exif


def _orientation_value(tiff: bytes) -> int:
    """TIFF 6.0, section 2: the header, then the entries of the first directory."""
    order = _TIFF.get(tiff[:4])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for index in range(count):
        entry = directory + 2 + 12 * index
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION_TAG and kind in (_SHORT, _LONG):
            code = order + ("H" if kind == _SHORT else "I")
            return int(struct.unpack_from(code, tiff, entry + 8)[0])
    return 1
