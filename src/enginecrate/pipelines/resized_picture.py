"""A photo, decoded, resized and upright: the costly part of preparing it, and what that costs.

It needs no model, so it can be done in another process (`picture_message`).
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.cost import NO_COST, DecodeCost, EncodedFacts, read_facts
from enginecrate.pipelines.decode import EncodedImage, Mode
from enginecrate.pipelines.placement import Placement, place
from enginecrate.pipelines.resize import enough, resize
from enginecrate.values import PipelineSpec

__all__ = ["ResizedPicture", "picture_cost", "resized_picture"]

_NS_RESIZE = 3.0
_AREA_BYTES, _AREA_NS = 19, 28.0
"""For each decoded pixel, where `interpolation` is `area`: NumPy computes it in FP32."""

_AREA_PASS_BYTES = 48
"""The same for a pixel between its two passes, which has the old width and the new height."""

_PASS_BYTES = 4
"""For a pixel between the two passes of a resize, which has the new width and the old height."""

_RESULT_BYTES = 24
"""For a pixel of the model's input: the image, turned upright, its channels, and numbers."""


@dataclass(frozen=True, slots=True)
class ResizedPicture:
    """The part of the upright photo that the placement uses, at the size that it has there."""

    image: Image.Image
    placement: Placement


def resized_picture(
    payload: bytes | memoryview, spec: PipelineSpec, size: tuple[int, int], limits: Limits
) -> ResizedPicture:
    """Decode and resize a photo.

    Args:
        payload: the encoded photo.
        spec: how to resize, and `color`.
        size: width and height of the model's input; -1 for a side that follows the photo.
        limits: what a photo may cost.

    Raises:
        ImageUndecodable: the photo is damaged.
        ImageTooLarge: it has more bytes or pixels than `limits` allows.
        ImageFormatUnsupported: it is not JPEG, PNG, WebP or BMP.
    """
    encoded = EncodedImage.read(payload, limits)
    placement = place(spec, encoded.size, size)
    mode: Mode = "L" if spec.color == "gray" else "RGB"
    stored = encoded.decode(mode, enough(placement, spec.interpolation))
    image = resize(stored, encoded.orientation, placement, spec.interpolation)
    return ResizedPicture(image, placement)


def picture_cost(
    payload: bytes | memoryview, spec: PipelineSpec, size: tuple[int, int], limits: Limits
) -> DecodeCost:
    """The cost of `resized_picture`, and of its tensor, from the header alone.

    How the photo was held is not known yet, so it is the larger of both ways.
    """
    facts = read_facts(payload, limits)
    if facts is None:
        return NO_COST
    ways = [(facts.width, facts.height), (facts.height, facts.width)]
    costs = [_cost(facts, place(spec, way, size), spec, turned=way != ways[0]) for way in ways]
    return DecodeCost(max(cost.bytes for cost in costs), max(cost.milliseconds for cost in costs))


def _cost(
    facts: EncodedFacts, placement: Placement, spec: PipelineSpec, *, turned: bool
) -> DecodeCost:
    least = enough(placement, spec.interpolation)
    fraction = facts.fraction(least[::-1] if turned else least)
    decoded = -(-facts.width // fraction) * -(-facts.height // fraction)
    area = spec.interpolation == "area"
    new = (placement.width, placement.height)
    new_width, new_height = new[::-1] if turned else new
    between = new_width * -(-facts.height // fraction) * _PASS_BYTES
    if area:
        between = new_height * -(-facts.width // fraction) * _AREA_PASS_BYTES
    size = (
        facts.pixels * facts.whole
        + decoded * (facts.decoded + (_AREA_BYTES if area else 0))
        + between
        + placement.width * placement.height * _RESULT_BYTES
        + 2 * facts.file_bytes
    )
    time = facts.pixels * facts.ns + decoded * (_AREA_NS if area else _NS_RESIZE) + facts.file_ns
    return DecodeCost(round(size), time / 1e6)
