"""The limit on the pixels of a photo, checked before anything of it is decoded."""

from __future__ import annotations

from enginecrate.errors import ImageTooLarge
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.headers import ImageHeader

__all__ = ["check_limits"]


def check_limits(header: ImageHeader, limits: Limits) -> None:
    """Refuse an image with too many pixels.

    Raises:
        ImageTooLarge: over `limits.max_pixels`.
    """
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise ImageTooLarge(
            f"a {header} ({pixels:,} in all) is over the limit of {limits.max_pixels:,} pixels; "
            "send a smaller image, or raise the setting max_image_pixels"
        )
