"""From an encoded image to upright pixels, and to the numbers that a model takes.

Pipelines use `image_input`, which does all of it under the limits of `base`; the server looks at
`formats`. `decode_image` here is the short way for callers that only want pixels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import EncodedImage
from enginecrate.pipelines.resize import upright

__all__ = ["Color", "decode_image"]

Color = Literal["rgb", "bgr", "gray"]


def decode_image(
    payload: bytes | memoryview, color: Color, limits: Limits
) -> npt.NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP or BMP image at its full size. Safe to call from many threads.

    Orientation from EXIF is applied. Transparent pixels are laid on white. Of an animation
    the first frame is taken. 16 bits per channel are scaled to 8. Colour profiles are not
    applied.

    Returns:
        (H, W, C) uint8, upright and C-contiguous; C is 1 for `gray`, else 3.

    Raises:
        ImageFormatUnsupported: the bytes are none of the four; the message says what they are.
        ImageTooLarge: more bytes or pixels than `limits` allows; nothing was decoded.
        ImageUndecodable: the image is damaged or cut off.
    """
    encoded = EncodedImage.read(payload, limits)
    stored = encoded.decode("L" if color == "gray" else "RGB")
    pixels = np.asarray(upright(stored.image, encoded.orientation))
    if color == "gray":
        pixels = pixels[:, :, np.newaxis]
    return np.array(pixels[:, :, ::-1] if color == "bgr" else pixels, order="C")
