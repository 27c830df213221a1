"""Decodes ordinary JPEGs by libjpeg-turbo's own interface (`simplejpeg`), and declines the rest.

One call without Python's lock, where Pillow's reader comes back for it with each 64 KiB. The pixels
are those that Pillow gives, to the bit, since both ask the same library for the same thing
(`tests/pipelines/test_turbo_decoder.py`): whatever may differ is declined.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from enginecrate.pipelines.jpeg_segments import SOF, segments
from enginecrate.pipelines.photo_decoder import Wanted

__all__ = ["decode_turbo"]

_PROCESSES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended sequential and progressive, in Huffman code."""

_COLOURS = {1: ("GRAY", "L"), 3: ("RGBX", "RGB")}
"""By the number of components: the library's word, and Pillow's for the same bytes."""

_LEAST_SIDE = 16
"""`simplejpeg` looks for a fraction by the size that it gives. Below 8 pixels two give the same."""


def decode_turbo(data: bytes, wanted: Wanted) -> Image.Image | None:
    """Decode a JPEG that is as it should be; see `PhotoDecoder`."""
    components = _components(data)
    width, height = wanted.size
    if components not in _COLOURS or max(wanted.header.width, wanted.header.height) < _LEAST_SIDE:
        return None
    colour, mode = _COLOURS[components]
    try:
        pixels = simplejpeg.decode_jpeg(data, colour, min_height=height, min_width=width)
    except ValueError:  # damaged, or unusual: Pillow decides
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return _image(pixels, mode)


def _components(data: bytes) -> int:
    """The number of components; 0 when there are none, or not in 8 bits by a usual process."""
    for marker, _, content, _ in segments(data):
        if marker in SOF:
            usual = marker in _PROCESSES and data[content] == 8
            return data[content + 5] if usual else 0
    return 0


def _image(pixels: npt.NDArray[np.uint8], mode: str) -> Image.Image:
    """An image of these very bytes, as `Image.frombuffer` makes it.

    That function copies RGB, which Pillow itself keeps in four bytes a pixel.
    """
    height, width = pixels.shape[:2]
    arguments = (pixels, (width, height), "raw", 0, (mode, 0, 1))
    core = Image.core.map_buffer(*arguments)  # type: ignore[attr-defined]
    image = Image.new(mode, (0, 0))._new(core)
    image.readonly = 1
    return image
