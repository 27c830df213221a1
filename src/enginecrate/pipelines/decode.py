"""Decodes JPEG, PNG, WebP and BMP with Pillow, under limits and without its global state.

Pillow's plugin classes are used directly: `Image.open` would try other formats, too, and its
limit on pixels is one for the whole process. `benchmarks/decode.py` says why it is Pillow.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from enginecrate.errors import ImageTooLarge, ImageUndecodable
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.exif import Orientation, read_orientation
from enginecrate.pipelines.formats import damaged
from enginecrate.pipelines.headers import Format, ImageHeader, read_header
from enginecrate.pipelines.jpeg import MAX_SCANS, pixel_segments
from enginecrate.pipelines.limits import check_limits
from enginecrate.pipelines.png import pixel_chunks

__all__ = ["MAX_SCANS", "EncodedImage", "Mode", "Stored"]

Mode = Literal["RGB", "L"]
T = TypeVar("T")

_STRIP = 64
"""Rows of pixels that are looked at in one go."""

_PLUGINS: dict[Format, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
}


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
    """An image whose header was read and found within the limits, ready to decode once."""

    header: ImageHeader
    orientation: Orientation
    _file: ImageFile
    _other: ImageFile | None = None  # must look the same, where it is not sure that all is there
    _plain_ink: bool = False  # CMYK that is stored as it is; Pillow takes it for inverted

    @classmethod
    def read(cls, payload: bytes | memoryview, limits: Limits) -> EncodedImage:
        """Read the header and check it. Decodes no pixel.

        Raises:
            ImageFormatUnsupported: not JPEG, PNG, WebP or BMP.
            ImageTooLarge: more bytes or pixels than `limits` allows.
            ImageUndecodable: the header is damaged.
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
        other, exif, plain_ink = b"", b"", False
        if header.format == "PNG":
            data, exif = pixel_chunks(data)
        elif header.format == "JPEG":
            data, other, exif, plain_ink = pixel_segments(data)
        file = _open(header, data)
        return cls(
            header,
            read_orientation(exif or _embedded_exif(file)),
            file,
            _open(header, other) if other else None,
            plain_ink,
        )

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
        """
        return _foreign(self.header.format, lambda: self._decode(mode, least))

    def _decode(self, mode: Mode, least: tuple[int, int]) -> Stored:
        expected = None
        if self._other is not None:
            self._draft(self._other, least)
            expected = _checksum(self._other)
            self._other.close()
        content = self._draft(self._file, least)
        if expected is not None and _checksum(self._file) != expected:
            raise damaged("JPEG", "it is cut off: there is no end marker, and pixels are missing")
        return Stored(_eight_bits(self._file, mode, self._plain_ink), content)

    def _draft(self, file: ImageFile, least: tuple[int, int]) -> tuple[float, float]:
        """Choose the fraction at which a file is decoded; the picture's size at that fraction."""
        if min(least) > 0 and isinstance(file, JpegImageFile):
            drafted = file.draft(None, self.orientation.oriented_size(*least))
            if drafted:
                return drafted[1][2:]
        return file.size


def _open(header: ImageHeader, data: bytes) -> ImageFile:
    file = _foreign(header.format, lambda: _PLUGINS[header.format](io.BytesIO(data)))
    if file.size != (header.width, header.height):
        raise damaged(header.format, "it states two different sizes")
    return file


def _checksum(image: Image.Image) -> int:
    """A checksum of all pixels, which takes no memory for a second copy of them."""
    image.load()
    checksum = 0
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        checksum = zlib.crc32(strip.tobytes(), checksum)
    return checksum


def _embedded_exif(file: ImageFile) -> bytes:
    exif = file.info.get("exif", b"")
    return exif if isinstance(exif, bytes) else b""


def _foreign(image_format: Format, call: Callable[[], T]) -> T:
    """Translate whatever Pillow raises: damaged images make it raise nearly anything."""
    try:
        return call()
    except (MemoryError, ImageUndecodable):
        raise
    except Image.DecompressionBombError as exc:
        raise ImageTooLarge(f"the {image_format} image is too large: {exc}") from exc
    except Exception as exc:
        raise damaged(image_format, str(exc) or type(exc).__name__) from exc


def _eight_bits(image: Image.Image, mode: Mode, plain_ink: bool) -> Image.Image:
    """Load an image and turn whatever it holds into 8 bits per channel without transparency."""
    image.load()
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
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    opaque = image.convert("RGB")
    if alpha.getextrema() in ((255, 255), (0, 0)):
        return opaque
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(opaque, mask=alpha)
    return white
