"""Steps from an encoded image to the numbers that a model takes, one by one.

The built-in pipelines use `image_input`, which does all of it at once under the limits of `base`.
These functions are for a vendor's own class that does something else between the steps.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import EncodedImage, Stored
from enginecrate.pipelines.exif import Orientation
from enginecrate.pipelines.placement import whole_image
from enginecrate.pipelines.resize import Interpolation, resize, upright
from enginecrate.values import Array

__all__ = ["Color", "decode_image", "perspective_crop", "resize_image", "to_tensor"]

Color = Literal["rgb", "bgr", "gray"]

_UPRIGHT = Orientation(swaps=False, flips_x=False, flips_y=False, transpose=None)


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


def resize_image(
    pixels: npt.NDArray[np.uint8],
    width: int,
    height: int,
    interpolation: Interpolation = "bilinear",
) -> npt.NDArray[np.uint8]:
    """Resize decoded pixels with the filters of the manifest.

    Args:
        pixels: (H, W, C) of 1 or 3 channels.
        width: of the result.
        height: of the result.
        interpolation: as in the manifest.

    Returns:
        (height, width, C).
    """
    stored = Stored(_picture(pixels), (pixels.shape[1], pixels.shape[0]))
    placement = whole_image((pixels.shape[1], pixels.shape[0]), (width, height))
    return _channels(resize(stored, _UPRIGHT, placement, interpolation))


def to_tensor(
    pixels: npt.NDArray[np.uint8],
    *,
    mean: npt.ArrayLike = 0.0,
    std: npt.ArrayLike = 1.0,
    layout: Literal["nchw", "nhwc"] = "nchw",
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Normalise pixels: `(x - mean) / std`, channel by channel.

    Args:
        pixels: (H, W, C), channels in the model's order.
        mean: of pixel values in 0..255; one number, or one for each channel.
        std: the same.
        layout: of the result.
        dtype: of the result.

    Returns:
        (1, C, H, W) or (1, H, W, C), C-contiguous.
    """
    work = np.dtype(np.float32)
    values: Array = (pixels.astype(work) - np.asarray(mean, work)) / np.asarray(std, work)
    if layout == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[np.newaxis].astype(dtype, copy=False))


def perspective_crop(
    pixels: npt.NDArray[np.uint8], corners: npt.ArrayLike, width: int, height: int
) -> npt.NDArray[np.uint8]:
    """Cut out a quadrilateral and make a rectangle of it: a line of text, a number plate.

    Args:
        pixels: (H, W, C) of 1 or 3 channels.
        corners: (4, 2) x, y of the corners: top left, top right, bottom right, bottom left.
        width: of the result.
        height: of the result.

    Returns:
        (height, width, C); black where the corners reach out of the image.

    Raises:
        ValueError: three of the corners lie on one line.
    """
    target = ((0, 0), (width, 0), (width, height), (0, height))
    rows, values = [], []
    for (x, y), (u, v) in zip(np.asarray(corners, np.float64).reshape(4, 2), target, strict=True):
        rows += [(u, v, 1, 0, 0, 0, -x * u, -x * v), (0, 0, 0, u, v, 1, -y * u, -y * v)]
        values += [x, y]
    try:
        coefficients = np.linalg.solve(np.array(rows), np.array(values))
    except np.linalg.LinAlgError as exc:
        raise ValueError("the corners of a quadrilateral must not lie on one line") from exc
    picture = _picture(pixels).transform(
        (width, height),
        Image.Transform.PERSPECTIVE,
        coefficients.tolist(),
        Image.Resampling.BILINEAR,
    )
    return _channels(picture)


def _picture(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    one_channel = pixels.shape[2] == 1
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if one_channel else pixels))


def _channels(picture: Image.Image) -> npt.NDArray[np.uint8]:
    pixels = np.array(picture)
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
