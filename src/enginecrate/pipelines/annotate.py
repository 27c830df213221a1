"""Draws a result on the picture that it belongs to, for people."""

from __future__ import annotations

import io
import math

from PIL import Image, ImageDraw

from enginecrate.errors import PipelineError
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    Limits,
    Result,
)
from enginecrate.pipelines.box_labels import TagPen, class_color
from enginecrate.pipelines.cost import NO_COST, DecodeCost, read_facts
from enginecrate.pipelines.decode import EncodedImage
from enginecrate.pipelines.resize import upright

__all__ = ["annotate", "annotation_cost"]

_LEAST_SIDE, _MOST_SIDE = 320, 1920
_CANVAS_BYTES, _CANVAS_MILLISECONDS = 64 << 20, 200.0
"""Of the canvas, its turned copy, and the PNG. Its long side has 1920 pixels at most."""

_CAPTION_LINES = 3
_NS_LANCZOS = 8.0
_CAPTION_COLOR = (24, 24, 27)


def annotate(payload: bytes | memoryview, result: Result, limits: Limits) -> bytes:
    """Draw boxes with labels, or the best classes, on the picture that was sent.

    A picture whose long side has less than 320 pixels is enlarged, so that the labels can be
    read; one over 1920 is shrunk, so that the answer stays small. The font has the letters of
    English only: accents are left out, and a label in another script is replaced by the number
    of its class.

    Returns:
        A PNG, upright.

    Raises:
        PipelineError: the picture cannot be decoded, or the result holds nothing to draw.
    """
    if not isinstance(result, DetectionResult | ClassificationResult):
        raise PipelineError(
            "a result of tensors cannot be drawn on a picture; ask for it without annotation"
        )
    canvas = _canvas(payload, limits)
    if isinstance(result, DetectionResult):
        _draw_detections(canvas, result)
    else:
        _draw_caption(canvas, result)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def annotation_cost(payload: bytes | memoryview, limits: Limits) -> DecodeCost:
    """The cost of `annotate`, from the header alone. Nothing, where it is refused at once."""
    facts = read_facts(payload, limits)
    if facts is None:
        return NO_COST
    scale = min(_MOST_SIDE / max(facts.width, facts.height), 1.0)
    fraction = facts.fraction((round(facts.width * scale), round(facts.height * scale)))
    decoded = -(-facts.width // fraction) * -(-facts.height // fraction)
    rows = -(-facts.height // fraction) * _MOST_SIDE * 4  # between the two passes of a resize
    size = facts.pixels * facts.whole + decoded * facts.decoded + rows + 2 * facts.file_bytes
    time = facts.pixels * facts.ns + decoded * _NS_LANCZOS + facts.file_ns
    return DecodeCost(round(size) + _CANVAS_BYTES, time / 1e6 + _CANVAS_MILLISECONDS)


def _canvas(payload: bytes | memoryview, limits: Limits) -> Image.Image:
    encoded = EncodedImage.read(payload, limits)
    width, height = encoded.size
    longest = max(width, height)
    # Enlarged by a whole number, so that the pixels stay as even as they were.
    scale = min(math.ceil(_LEAST_SIDE / longest), _MOST_SIDE / longest)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    stored = encoded.decode("RGB", size if scale < 1 else (0, 0))
    picture = stored.image
    wanted = encoded.orientation.oriented_size(*size)
    if picture.size != wanted:
        picture = picture.resize(wanted, Image.Resampling.LANCZOS, (0, 0, *stored.content))
    return upright(picture, encoded.orientation).copy()


def _draw_detections(canvas: Image.Image, result: DetectionResult) -> None:
    pen = TagPen(canvas)
    scale_x, scale_y = canvas.width / result.width, canvas.height / result.height
    draw = ImageDraw.Draw(canvas)
    # The best comes last, so that it covers the others and not they it.
    for found in reversed(result.detections):
        x1, y1, x2, y2 = found.box
        box = (x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y)
        _draw_box(draw, canvas.size, box, pen.line_width, class_color(found.class_id))
    for found in result.detections:  # but the best chooses first where its label goes
        left, top = found.box[0] * scale_x, found.box[1] * scale_y
        bottom = found.box[3] * scale_y
        pen.write(_words(found, pen), (left, top), bottom, class_color(found.class_id))


def _words(found: Detection | Classification, pen: TagPen) -> str:
    label = pen.writable(found.label) or f"class {found.class_id}"
    return f"{label} {found.score:.2f}"


def _draw_box(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    line_width: int,
    color: tuple[int, int, int],
) -> None:
    # Whole pixels make crisp lines; a box on the edge stays visible; corners stay in order.
    x1, y1 = (min(max(0, round(edge)), side - 1) for edge, side in zip(box, size, strict=False))
    x2, y2 = (min(round(edge), side) - 1 for edge, side in zip(box[2:], size, strict=True))
    draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=line_width)


def _draw_caption(canvas: Image.Image, result: ClassificationResult) -> None:
    pen = TagPen(canvas)
    top = 0.0
    for best in result.classes[:_CAPTION_LINES]:
        _, _, _, top = pen.write(_words(best, pen), (0, top), top, _CAPTION_COLOR)
