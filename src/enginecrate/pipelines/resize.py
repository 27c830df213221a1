"""Resizes decoded pixels and turns them upright.

Pillow has all filters but one. `shrink_by_area` gives each new pixel the mean of the area that it
covers, as OpenCV's INTER_AREA does; Pillow's BOX filter takes or leaves a whole pixel at an area's
edge.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import Resampling

from enginecrate.pipelines.decode import Stored
from enginecrate.pipelines.exif import Orientation
from enginecrate.pipelines.placement import Placement

__all__ = ["enough", "resize", "shrink_by_area", "upright"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]

_FILTERS = {
    "nearest": Resampling.NEAREST,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "area": Resampling.BILINEAR,  # where area enlarges, as OpenCV does
}

_QUALITY = 2
"""A JPEG is decoded at least so many times larger than needed, before the resize.

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


def shrink_by_area(
    pixels: npt.NDArray[np.uint8], box: tuple[float, float, float, float], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Shrink the part of an image that lies in a box.

    Args:
        pixels: (H, W, C).
        box: x1, y1, x2, y2 in pixels, not smaller than `size`.
        size: new width and height.

    Returns:
        (height, width, C) uint8.
    """
    width, height = size
    rows = _means(pixels.astype(np.float32, copy=False), box[1], box[3], height)
    columns = _means(rows.swapaxes(0, 1), box[0], box[2], width)
    return np.ascontiguousarray(np.rint(columns.swapaxes(0, 1)).astype(np.uint8))


def _shrink(
    image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]
) -> Image.Image:
    pixels = np.asarray(image)
    shrunk = shrink_by_area(pixels.reshape(*pixels.shape[:2], -1), box, size)
    return Image.fromarray(shrunk if image.mode == "RGB" else shrunk[:, :, 0])


def _means(
    pixels: npt.NDArray[np.float32], start: float, end: float, count: int
) -> npt.NDArray[np.float32]:
    """Means over `count` equal spans of the first axis, from `start` to `end`."""
    # Rounded, because 2.9999999 for 3 would give a span without a whole pixel.
    edges = np.round(np.linspace(start, end, count + 1), 6)
    whole = np.floor(edges).astype(np.intp)
    fraction = (edges - whole).astype(np.float32).reshape(-1, *(1,) * (pixels.ndim - 1))
    sums = np.add.reduceat(pixels[: whole[-1]], whole[:-1], axis=0)
    cut = pixels[np.minimum(whole, len(pixels) - 1)] * fraction
    means: npt.NDArray[np.float32] = (sums - cut[:-1] + cut[1:]) / np.float32((end - start) / count)
    return means
