"""Decodes JPEG, PNG, WebP and BMP under limits.

`turbo_decoder` is asked first, then `pillow_decoder`, whose answer counts: see `photo_decoder`.
`benchmarks/decode.py` says why it is these.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

from enginecrate.errors import ImageTooLarge, ImageUndecodable
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.cost import read_facts
from enginecrate.pipelines.exif import Orientation, read_orientation
from enginecrate.pipelines.formats import damaged
from enginecrate.pipelines.headers import ImageHeader, read_header
from enginecrate.pipelines.jpeg import MAX_SCANS, pixel_segments
from enginecrate.pipelines.limits import check_limits
from enginecrate.pipelines.photo_decoder import Wanted, jpeg_fraction
from enginecrate.pipelines.pillow_decoder import decode_pillow, load, open_image, translated
from enginecrate.pipelines.png import pixel_chunks
from enginecrate.pipelines.turbo_decoder import decode_turbo

__all__ = ["MAX_SCANS", "EncodedImage", "Mode", "Stored"]

Mode = Literal["RGB", "L"]

_STRIP = 64
"""Rows of pixels that are looked at in one go."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Decoded pixels as they are stored: not yet upright, perhaps at a fraction of the size.

    content: width and height of the picture within the pixels. A little less than the size of
    `image` where a fraction does not divide the picture's size: the rest is padding.
    """

    image: Image.Image
    content: tuple[float, float]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image whose header was read and found within the limits, ready to decode once.

    _opened: by Pillow; empty for JPEG, and after the decode, which lets go of it.
    _other: must look the same, where it is not sure that all of a JPEG is there.
    _plain_ink: CMYK that is stored as it is; Pillow takes it for inverted.
    """

    header: ImageHeader
    orientation: Orientation
    _data: bytes
    _opened: list[ImageFile]
    _other: bytes = b""
    _plain_ink: bool = False

    @classmethod
    def read(cls, payload: bytes | memoryview, limits: Limits) -> EncodedImage:
        """Read the header and check it. Decodes no pixel.

        Raises:
            ImageFormatUnsupported: not JPEG, PNG, WebP or BMP.
            ImageTooLarge: more bytes or pixels than `limits` allows.
            ImageUndecodable: the header is damaged.
            MemoryError: there is not enough memory.
        """
        size = memoryview(payload).nbytes
        if size > limits.max_bytes:
            raise ImageTooLarge(
                f"the image has {size:,} bytes; the limit is {limits.max_bytes:,}; "
                "send a smaller one, or raise the setting max_body_bytes"
            )
        data = bytes(payload)
        header = read_header(data)
        check_limits(header, limits)
        if header.format == "JPEG":
            picture, other, exif, plain_ink = pixel_segments(data)
            return cls(header, read_orientation(exif), picture, [], other, plain_ink)
        exif = b""
        if header.format == "PNG":
            data, exif = pixel_chunks(data)
        with _lack_of_memory_told(data, Wanted(header)):
            file = open_image(data, header)
        return cls(header, read_orientation(exif or _embedded_exif(file)), data, [file])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        return self.orientation.oriented_size(self.header.width, self.header.height)

    def decode(self, mode: Mode, least: tuple[int, int] = (0, 0)) -> Stored:
        """Decode the first frame. Call it once.

        Args:
            mode: `RGB`, or `L` for grey.
            least: upright width and height that are enough. A JPEG much larger than that is
                decoded at 1/2, 1/4 or 1/8, which costs less time and memory. 0: all of it.

        Raises:
            ImageUndecodable: the pixels are damaged or cut off.
            MemoryError: there is not enough memory.
        """
        wanted = Wanted(self.header, self._fraction(least))
        with _lack_of_memory_told(self._data, wanted):
            converted = translated(
                self.header.format, lambda: _eight_bits(self._pixels(wanted), mode, self._plain_ink)
            )
        width, height = self.header.width, self.header.height
        return Stored(converted, (width / wanted.fraction, height / wanted.fraction))

    def _fraction(self, least: tuple[int, int]) -> int:
        if self.header.format != "JPEG":
            return 1
        stored = self.orientation.oriented_size(*least)
        return jpeg_fraction(self.header.width, self.header.height, stored)

    def _pixels(self, wanted: Wanted) -> Image.Image:
        if self._opened:
            return load(self._opened.pop(), wanted)
        if not self._other:
            image = decode_turbo(self._data, wanted)
            return decode_pillow(self._data, wanted) if image is None else image
        expected = _checksum(decode_pillow(self._other, wanted))
        image = decode_pillow(self._data, wanted)
        if _checksum(image) != expected:
            raise damaged("JPEG", "it is cut off: there is no end marker, and pixels are missing")
        return image


def _checksum(image: Image.Image) -> int:
    """A checksum of all pixels, which takes no memory for a second copy of them."""
    checksum = 0
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        checksum = zlib.crc32(strip.tobytes(), checksum)
    return checksum


@contextmanager
def _lack_of_memory_told(data: bytes, wanted: Wanted) -> Iterator[None]:
    """The libraries say "damaged", too, when they get no memory."""
    try:
        yield
    except ImageUndecodable as exc:
        if not _may_be_allocated(_memory(data, wanted)):
            raise MemoryError from exc
        raise


def _memory(data: bytes, wanted: Wanted) -> int:
    """Bytes that the decode takes at most; at least one."""
    facts = read_facts(data, Limits(len(data), wanted.header.width * wanted.header.height))
    if facts is None:
        return 1
    width, height = wanted.size
    return 1 + round(facts.pixels * facts.whole + width * height * facts.decoded)


def _may_be_allocated(size: int) -> bool:
    """True when the system would give so much memory now; nothing of it is used."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


def _embedded_exif(file: ImageFile) -> bytes:
    exif = file.info.get("exif", b"")
    return exif if isinstance(exif, bytes) else b""


def _eight_bits(image: Image.Image, mode: Mode, plain_ink: bool) -> Image.Image:
    """Turn whatever an image holds into 8 bits per channel without transparency."""
    if plain_ink:
        image = ImageChops.invert(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bit_table()[np.asarray(image, dtype=np.uint16)])
    elif image.has_transparency_data:
        image = _on_white(image)
    return image if image.mode == mode else image.convert(mode)


@cache
def _eight_bit_table() -> npt.NDArray[np.uint8]:
    """For each 16-bit value the nearest 8-bit one: 65535 is 255."""
    return np.rint(np.arange(65536) / 257).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a viewer shows it.

    The colours under transparent pixels are whatever the editor left there. An alpha channel
    that hides everything carries no information and is dropped.
    """
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() in ((255, 255), (0, 0)):
        return image.convert("RGB")
    white = Image.new("RGB", image.size, (255, 255, 255))
    for top in range(0, image.height, _STRIP):  # a strip of the colours, not one more copy
        strip = (0, top, image.width, min(top + _STRIP, image.height))
        white.paste(image.crop(strip).convert("RGB"), strip, alpha.crop(strip))
    return white
