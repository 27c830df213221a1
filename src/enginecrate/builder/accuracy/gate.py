"""The gate of a quantised precision: an agreement counts when enough photos show it.

A share of few photos says little: 4 of 4 photos that agree mean "between 51 % and 100 %". So the
lower end of the 95 % interval must reach what the manifest requires, on at least 20 photos.
"""

from __future__ import annotations

import math
from typing import Literal

from enginecrate.builder.accuracy.figures import Figure, Z

__all__ = ["LEAST_PHOTOS", "GateVerdict", "judge", "photos_needed"]

GateVerdict = Literal["passed", "failed", "too few"]

LEAST_PHOTOS = 20
"""Fewer photos never show a share, whatever their interval says."""


def judge(figure: Figure, photos: int, required: float) -> GateVerdict:
    """The verdict about an agreement that its interval must show.

    Args:
        figure: the agreement.
        photos: that it rests on.
        required: least agreement, 0..1.

    Returns:
        `too few` when even full agreement of so many photos would not show it, and when the
        agreement is high enough and the lower end of its interval is not.
    """
    least = photos_needed(None, photos, required, figure.method)
    if figure.value is None or figure.low is None or least is None or photos < least:
        return "too few"
    if figure.value < required:
        return "failed"
    return "passed" if figure.low >= required else "too few"


def photos_needed(figure: Figure | None, photos: int, required: float, method: str) -> int | None:
    """The number of photos that would show an agreement.

    Args:
        figure: that was measured; `None`: full agreement.
        photos: that it rests on.
        required: least agreement, 0..1.
        method: of the interval. Wilson's lower end reaches `required` from the number of photos
            on where the score test no longer refuses it. A bootstrap's interval narrows with the
            root of the number.

    Returns:
        `None` when no number of photos would.
    """
    value = figure.value if figure is not None and figure.value is not None else 1.0
    low = figure.low if figure is not None else None
    if value < required:  # full agreement is the best that could come of it
        value, low = 1.0, None
    apart = value - required
    if method == "bootstrap":
        if low is None or low >= required:
            return LEAST_PHOTOS
        count = photos * ((value - low) / apart) ** 2 if apart else None
    else:
        count = Z * Z * required * (1 - required) / apart**2 if apart else None
    return None if count is None else max(LEAST_PHOTOS, math.ceil(count))
