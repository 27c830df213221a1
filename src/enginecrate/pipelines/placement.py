"""The placement of a resized image in the model's input, for each way to resize."""

from __future__ import annotations

from dataclasses import dataclass

from enginecrate.pipelines.geometry import Geometry
from enginecrate.values import PipelineSpec

__all__ = ["LONG_SIDE", "Placement", "place", "whole_image"]

LONG_SIDE = 2048
"""Most pixels of the long side when the manifest sets none: a photo must not decide what the
engine's memory is."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The part of the upright image that is resized, and the part of the input that it fills.

    source: x1, y1, x2, y2 of the part that is used, as fractions (0..1) of the image.
    width, height: of that part after the resize, in pixels of the model's input.
    left, top: where it begins there. What it leaves uncovered is border.
    least: width and height that the whole image needs to have for a full-quality result.
    """

    source: tuple[float, float, float, float]
    width: int
    height: int
    left: int
    top: int
    least: tuple[int, int]
    geometry: Geometry


def place(spec: PipelineSpec, image: tuple[int, int], model: tuple[int, int]) -> Placement:
    """Place an upright image in a model's input.

    Args:
        spec: its `resize`, and `short_side` where a crop follows.
        image: width and height of the upright image.
        model: width and height of the model's input; -1 for a side that follows the photo.
    """
    if spec.resize == "proportional":
        return _proportional(spec, image, model)
    if spec.resize == "letterbox":
        return _letterbox(image, model)
    if spec.resize == "short_side_crop":
        return _short_side_crop(image, model, spec.short_side or max(model))
    return whole_image(image, model, (0, 0))


def _proportional(spec: PipelineSpec, image: tuple[int, int], model: tuple[int, int]) -> Placement:
    """Keep the aspect ratio as far as multiples allow. A side that the model fixes decides."""
    longest = spec.long_side or LONG_SIDE
    fixed = [want / have for want, have in zip(model, image, strict=True) if want > 0]
    ratio = fixed[0] if fixed else spec.short_side / min(image) if spec.short_side else 1.0
    if not fixed:
        ratio = min(ratio, longest / max(image))
    width, height = (
        want if want > 0 else _rounded(min(have * ratio, longest), spec.multiple)
        for want, have in zip(model, image, strict=True)
    )
    return whole_image(image, (width, height), (0, 0))


def _rounded(side: float, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def whole_image(
    image: tuple[int, int], resized: tuple[int, int], at: tuple[int, int] = (0, 0)
) -> Placement:
    """Place a whole image, resized to a width and height, at a point of the model's input."""
    geometry = Geometry(
        *image,
        scale_x=resized[0] / image[0],
        scale_y=resized[1] / image[1],
        offset_x=float(at[0]),
        offset_y=float(at[1]),
    )
    return Placement((0.0, 0.0, 1.0, 1.0), *resized, *at, least=resized, geometry=geometry)


def _letterbox(image: tuple[int, int], model: tuple[int, int]) -> Placement:
    """Keep the aspect ratio, centre, fill the rest. Rounds as Ultralytics' LetterBox does."""
    ratio = min(model[0] / image[0], model[1] / image[1])
    width, height = (max(1, round(side * ratio)) for side in image)
    return whole_image(image, (width, height), ((model[0] - width) // 2, (model[1] - height) // 2))


def _short_side_crop(image: tuple[int, int], model: tuple[int, int], short: int) -> Placement:
    """Scale the short side, cut out the centre. Rounds as torchvision's Resize and CenterCrop."""
    width, height = (short * side // min(image) for side in image)
    left, top = round((width - model[0]) / 2), round((height - model[1]) / 2)
    geometry = Geometry(
        *image,
        scale_x=width / image[0],
        scale_y=height / image[1],
        offset_x=-float(left),
        offset_y=-float(top),
    )
    source = (left / width, top / height, (left + model[0]) / width, (top + model[1]) / height)
    return Placement(source, *model, 0, 0, least=(width, height), geometry=geometry)
