"""The default boxes of SSD, and boxes given as offsets from them.

Liu et al., SSD: Single Shot MultiBox Detector (arXiv 1512.02325), section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from enginecrate.pipelines.decoders.base import Floats

__all__ = ["apply_offsets", "default_boxes"]

_LARGEST_GROWTH = math.log(1000.0 / 16)
"""Limit of the logarithm of a side's growth, as usual, so that its exponential is finite."""


def default_boxes(
    grids: Sequence[tuple[int, int]],
    cells: Sequence[tuple[float, float]],
    scales: Sequence[float],
    aspect_ratios: Sequence[Sequence[float]],
    *,
    clip: bool,
) -> Floats:
    """Default boxes in parts of the image.

    A cell has, in this order: a square of the map's scale, a square of the geometric mean of
    this and the next scale, and for each aspect ratio a wide and a tall box.

    Args:
        grids: rows and columns of each feature map.
        cells: height and width of each map's cells, in parts of the image.
        scales: one for each map and one more.
        aspect_ratios: for each map, greater than 1.
        clip: limit the sides of the boxes to the image's.

    Returns:
        (N, 4) float32: centre x, centre y, width, height; map by map, cell by cell, row-major.
    """
    parts = []
    for (rows, columns), (height, width), (scale, following), ratios in zip(
        grids, cells, pairwise(scales), aspect_ratios, strict=True
    ):
        sides = [(scale, scale), (math.sqrt(scale * following),) * 2]
        for ratio in ratios:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            sides += [(long, short), (short, long)]
        y, x = np.mgrid[:rows, :columns] + 0.5
        centres = np.stack((x.ravel() * width, y.ravel() * height), axis=1)
        shape = (rows * columns, len(sides), 2)
        part = np.empty((*shape[:2], 4))
        part[..., :2] = centres[:, None]
        part[..., 2:] = np.minimum(sides, 1.0) if clip else sides
        parts.append(part.reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def apply_offsets(offsets: Floats, boxes: Floats, variances: tuple[float, float]) -> Floats:
    """Move and stretch default boxes.

    Args:
        offsets: (N, 4): shift of the centre in parts of the box's sides and logarithm of the
            sides' growth, both divided by their variance.
        boxes: (N, 4) centre x, centre y, width, height.
        variances: of the centre and of the sides.

    Returns:
        (N, 4) centre x, centre y, width, height.
    """
    centres = boxes[:, :2] + offsets[:, :2] * np.float32(variances[0]) * boxes[:, 2:]
    growth = np.minimum(offsets[:, 2:] * np.float32(variances[1]), np.float32(_LARGEST_GROWTH))
    return np.concatenate((centres, boxes[:, 2:] * np.exp(growth)), axis=1)
