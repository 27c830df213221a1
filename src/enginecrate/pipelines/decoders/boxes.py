"""Boxes in one notation: x1, y1, x2, y2 in pixels of the model's input."""

from __future__ import annotations

from typing import Literal

import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Floats, Head

__all__ = ["BoxFormat", "in_pixels", "to_corners", "to_pixels"]

BoxFormat = Literal["cxcywh", "xyxy", "yxyx"]


def to_corners(boxes: Floats) -> Floats:
    """(N, 4) centre x, centre y, width, height to x1, y1, x2, y2."""
    half = boxes[:, 2:] * np.float32(0.5)
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def to_pixels(boxes: Floats, head: Head) -> Floats:
    """(N, 4) boxes in parts of the model input's width and height to boxes in its pixels.

    Raises:
        PipelineInvalid: the size of the input is open.
    """
    if min(head.width, head.height) < 1:
        raise PipelineInvalid(
            "[pipeline] decoder_options.normalised needs the size of the model's input, which "
            "resize = 'proportional' leaves open: set size"
        )
    return boxes * np.array((head.width, head.height) * 2, dtype=np.float32)


def in_pixels(boxes: Floats, box_format: BoxFormat, head: Head, *, normalised: bool) -> Floats:
    """(N, 4) boxes of any notation as x1, y1, x2, y2 in pixels of the model's input."""
    if box_format == "cxcywh":
        boxes = to_corners(boxes)
    elif box_format == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    return to_pixels(boxes, head) if normalised else boxes
