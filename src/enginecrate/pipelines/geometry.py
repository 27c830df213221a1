"""The mapping from pixels of a sent image to the model's input, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Geometry"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The placement of one upright image in the model's input.

    A point of the image at (x, y) lies in the model's input at
    `(x * scale_x + offset_x, y * scale_y + offset_y)`. Coordinates are continuous, in pixels:
    the centre of the first pixel is at 0.5. The offset is positive where letterbox put a
    border and negative where a crop cut something off.

    width, height: of the sent image after its EXIF orientation was applied.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def boxes_to_image(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Map boxes from pixels of the model's input to pixels of the sent image.

        Args:
            boxes: (N, 4), each x1, y1, x2, y2. May be empty.

        Returns:
            (N, 4) float32, clipped to the image. A box that lies wholly in the border has
            no area afterwards.
        """
        points = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)
        offset = np.array((self.offset_x, self.offset_y))
        scale = np.array((self.scale_x, self.scale_y))
        size = np.array((self.width, self.height), dtype=np.float64)
        mapped: npt.NDArray[np.float64] = np.clip((points - offset) / scale, 0.0, size)
        return mapped.reshape(-1, 4).astype(np.float32)
