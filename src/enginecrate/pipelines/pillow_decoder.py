"""Decodes JPEG, PNG, WebP and BMP with Pillow, without its global state.

Pillow's plugin classes are used directly: `Image.open` would try other formats, too, and its
limit on pixels is one for the whole process.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from enginecrate.errors import ImageTooLarge, ImageUndecodable
from enginecrate.pipelines.formats import damaged
from enginecrate.pipelines.headers import Format, ImageHeader
from enginecrate.pipelines.photo_decoder import Wanted

__all__ = ["decode_pillow", "load", "open_image", "translated"]

T = TypeVar("T")

_PLUGINS: dict[Format, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
}


def decode_pillow(data: bytes, wanted: Wanted) -> Image.Image:
    """Decode whatever it is; see `PhotoDecoder`.

    Raises:
        ImageUndecodable: the image is damaged.
    """
    return load(open_image(data, wanted.header), wanted)


def open_image(data: bytes, header: ImageHeader) -> ImageFile:
    """Read a file's header with Pillow.

    Raises:
        ImageUndecodable: Pillow cannot read it, or reads another size.
    """
    file = translated(header.format, lambda: _PLUGINS[header.format](io.BytesIO(data)))
    if file.size != (header.width, header.height):
        raise damaged(header.format, "it states two different sizes")
    return file


def load(file: ImageFile, wanted: Wanted) -> Image.Image:
    """Decode the pixels of an opened file.

    Returns:
        An image without its file: WebP's reader keeps three copies of the pixels.

    Raises:
        ImageUndecodable: they are damaged.
    """
    if wanted.fraction > 1:
        header, fraction = wanted.header, wanted.fraction
        file.draft(None, (header.width // fraction, header.height // fraction))
    translated(wanted.header.format, file.load)
    return file._new(file.im)


def translated(image_format: Format, call: Callable[[], T]) -> T:
    """Translate whatever Pillow raises: damaged images make it raise nearly anything."""
    try:
        return call()
    except (MemoryError, ImageUndecodable):
        raise
    except Image.DecompressionBombError as exc:
        raise ImageTooLarge(f"the {image_format} image is too large: {exc}") from exc
    except Exception as exc:
        raise damaged(image_format, str(exc) or type(exc).__name__) from exc
