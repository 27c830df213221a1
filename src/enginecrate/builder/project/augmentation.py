"""Changed copies of a photo: what another moment, another lens or another light would show."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from PIL import Image, ImageEnhance, ImageOps

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import EncodedImage
from enginecrate.pipelines.resize import upright

__all__ = ["Change", "augmented", "changes"]

_NO_LIMITS = Limits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)
"""The app's own limits were kept when the photo was read the first time."""

_LONGEST = 1280
"""Pixels of a copy's longer side: more than any model in use takes, and quick to encode."""

_CROPS = {
    "whole": (0.0, 0.0, 1.0, 1.0),
    "left": (0.0, 0.1, 0.8, 0.9),
    "right": (0.2, 0.0, 1.0, 0.8),
}
_LIGHTS = {"as it is": 1.0, "darker": 0.7, "brighter": 1.3}


@dataclass(frozen=True, slots=True)
class Change:
    """crop: left, top, right and bottom, as shares of the size. light: a factor for pixels."""

    name: str
    mirrored: bool
    crop: tuple[float, float, float, float]
    light: float


def changes() -> Iterator[Change]:
    """Every change, those that change least first. There are 17."""
    rows = product(_LIGHTS.items(), _CROPS.items(), (False, True))
    for (light, factor), (crop, box), mirrored in rows:
        words = [word for word in (crop, light) if word not in ("whole", "as it is")]
        words += ["mirrored"] if mirrored else []
        if words:
            yield Change(", ".join(words), mirrored, box, factor)


def augmented(payload: bytes, change: Change) -> bytes:
    """The changed photo as a BMP: nothing is lost, and no encoder's version changes a bit.

    Raises:
        PipelineError: the photo cannot be decoded.
    """
    encoded = EncodedImage.read(payload, _NO_LIMITS)
    image = upright(encoded.decode("RGB").image, encoded.orientation)
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BILINEAR)
    left, top, right, bottom = change.crop
    width, height = image.size
    end = max(1, int(right * width)), max(1, int(bottom * height))
    image = image.crop((int(left * width), int(top * height), *end))
    if change.mirrored:
        image = ImageOps.mirror(image)
    if change.light != 1:
        image = ImageEnhance.Brightness(image).enhance(change.light)
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    return buffer.getvalue()
