"""Writes labels on pictures: readable at any size, beside each other, never outside."""

from __future__ import annotations

import colorsys
import unicodedata
from functools import cache

from PIL import Image, ImageDraw, ImageFont

__all__ = ["TagPen", "class_color"]

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

_GOLDEN_RATIO = 0.618034


@cache
def class_color(class_id: int) -> Color:
    """A strong colour for a class; neighbouring numbers get hues far apart."""
    hue = (0.55 + class_id * _GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


class TagPen:
    """Writes tags on one picture and keeps them from covering each other.

    line_width: of boxes, in proportion to the picture.
    """

    def __init__(self, picture: Image.Image) -> None:
        self._size = picture.size
        self._draw = ImageDraw.Draw(picture)
        text_height = max(13, round(max(picture.size) / 45))
        self._font = ImageFont.load_default(text_height)
        self._missing = bytes(self._font.getmask("\uffff"))
        self._padding = max(2, text_height // 5)
        self._row = text_height + 2 * self._padding
        self._taken: list[Box] = []
        self.line_width = max(2, round(max(picture.size) / 300))

    def writable(self, text: str) -> str | None:
        """The text without its accents; `None` when the font still lacks a character of it."""
        parts = unicodedata.normalize("NFKD", text)
        plain = "".join(char for char in parts if not unicodedata.combining(char))
        lacks = any(bytes(self._font.getmask(char)) == self._missing for char in set(plain))
        return None if lacks else plain

    def write(self, text: str, corner: tuple[float, float], bottom: float, color: Color) -> Box:
        """Write a tag above a box, or else within it, below it, or lower where there is room.

        Args:
            text: shortened when it is wider than the picture.
            corner: the box's left and top.
            bottom: of the box.
            color: of the tag; the text is black or white, whichever can be read on it.

        Returns:
            Where the tag is.
        """
        text = self._fitting(text)
        width = self._font.getlength(text) + 2 * self._padding
        left = round(min(max(0, corner[0]), max(0, self._size[0] - width)))
        top = round(self._free_top(left, width, corner[1], bottom))
        tag = (left, top, left + round(width), top + self._row)
        self._taken.append(tag)
        self._draw.rectangle((tag[0], tag[1], tag[2] - 1, tag[3] - 1), fill=color)
        middle = (left + self._padding, top + self._row / 2)
        self._draw.text(middle, text, fill=_text_color(color), font=self._font, anchor="lm")
        return tag

    def _fitting(self, text: str) -> str:
        """The text, shortened in its middle when it is wider than the picture."""
        room = self._size[0] - 2 * self._padding
        keep = len(text)
        short = text
        while keep > 8 and self._font.getlength(short) > room:
            keep -= 1
            short = f"{text[: keep - 5]}…{text[-5:]}"  # the score at the end stays
        return short

    def _free_top(self, left: float, width: float, top: float, bottom: float) -> float:
        last = max(0, self._size[1] - self._row)
        wished = [top - self._row, top, bottom, bottom - self._row]
        places = [min(max(0, place), last) for place in wished]
        places += range(round(places[1]), last + 1, self._row)
        for place in places:
            tag = (left, place, left + width, place + self._row)
            if not any(_overlap(tag, other) for other in self._taken):
                return place
        return places[0]


def _overlap(first: Box, second: Box) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


def _text_color(background: Color) -> Color:
    """Black or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    red, green, blue = (_linear(channel / 255) for channel in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
