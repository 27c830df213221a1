"""Resizes decoded pixels and turns them upright."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from enginecrate.pipelines.area import shrink_by_area
from enginecrate.pipelines.image.decode import Stored
from enginecrate.pipelines.image.exif import Orientation
from enginecrate.pipelines.image.placement import Placement

__all__ = ["Interpolation", "enough", "resize", "upright"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]

_FILTERS = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "area": Resampling.BILINEAR,  # where area enlarges, as OpenCV does
}

_QUALITY = 2
"""How many times larger than needed a JPEG is decoded at least, before the resize.

At 2 a 12-megapixel photo of fine detail, shrunk to 416, differs from the full decode by 0.3
grey levels on average and 7 at most; at 1 by 0.9 and 12. See `benchmarks/decode.py`.
"""


def enough(placement: Placement, interpolation: Interpolation) -> tuple[int, int]:
    """Width and height at which to decode; (0, 0) is the full size."""
    if interpolation == "nearest":  # takes single pixels, so each must be the true one
        return 0, 0
    return placement.least[0] * _QUALITY, placement.least[1] * _QUALITY


def resize(
    stored: Stored, orientation: Orientation, placement: Placement, interpolation: Interpolation
) -> Image.Image:
    """Resize the part that the placement uses, and turn the result upright.

    Bilinear and bicubic widen their filter when they shrink, so they do not alias; OpenCV's
    filters of the same name do.
    """
    fractions = orientation.stored_box(placement.source)
    (width, height), limits = stored.content, stored.image.size
    box = (
        fractions[0] * width,
        fractions[1] * height,
        min(fractions[2] * width, limits[0]),
        min(fractions[3] * height, limits[1]),
    )
    size = orientation.oriented_size(placement.width, placement.height)
    shrinks = box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]
    if interpolation == "area" and shrinks:
        resized = _shrink(stored.image, box, size)
    else:
        resized = stored.image.resize(size, _FILTERS[interpolation], box)
    return upright(resized, orientation)


def upright(image: Image.Image, orientation: Orientation) -> Image.Image:
    """Turn a stored image upright."""
    return image if orientation.transpose is None else image.transpose(orientation.transpose)


def _shrink(
    image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]
) -> Image.Image:
    pixels = np.asarray(image)
    shrunk = shrink_by_area(pixels.reshape(*pixels.shape[:2], -1), box, size)
    return Image.fromarray(shrunk if image.mode == "RGB" else shrunk[:, :, 0])
