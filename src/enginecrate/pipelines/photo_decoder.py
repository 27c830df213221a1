"""The interface of what decodes photos: bytes in, pixels out, or a decline.

The decoders of `decode` are asked in turn. The last one, Pillow, never declines: its answer, pixels
or an error, is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from enginecrate.pipelines.headers import ImageHeader

__all__ = ["PhotoDecoder", "Wanted", "jpeg_fraction"]

_FRACTIONS = (8, 4, 2)
"""A JPEG can be decoded at 1/8, 1/4 and 1/2, which costs less time and memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The pixels that are wanted of encoded bytes.

    header: of the bytes.
    fraction: 1, 2, 4 or 8; width and height are divided by it, and rounded up.
    """

    header: ImageHeader
    fraction: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pixels."""
        width, height, fraction = self.header.width, self.header.height, self.fraction
        return -(-width // fraction), -(-height // fraction)


class PhotoDecoder(Protocol):
    """Decodes the first frame, as it is stored. Thread-safe."""

    def __call__(self, data: bytes, wanted: Wanted) -> Image.Image | None:
        """Decode.

        Returns:
            An image of `wanted.size`; `None` declines: another decoder is asked.

        Raises:
            MemoryError: there is not enough memory. No other decoder is asked.
        """
        ...


def jpeg_fraction(width: int, height: int, least: tuple[int, int]) -> int:
    """The smallest fraction at which a JPEG is still large enough.

    Args:
        width: as stored.
        height: as stored.
        least: width and height that are enough, as stored; (0, 0): all of it.
    """
    if min(least) < 1:
        return 1
    most = min(width // least[0], height // least[1])
    return next((fraction for fraction in _FRACTIONS if fraction <= most), 1)
