"""Shrinks an image by averaging: each new pixel is the mean of the area that it covers.

As OpenCV's INTER_AREA does. Pillow's BOX filter takes or leaves a whole pixel at an area's edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["shrink_by_area"]


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
