"""The messages between us and the decoder process: a head that says what, then bytes."""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec

from enginecrate.pipelines.base import ClassificationResult, DetectionResult, Limits
from enginecrate.pipelines.placement import Placement
from enginecrate.values import PipelineSpec

__all__ = [
    "Annotated",
    "AnnotationOrder",
    "Failed",
    "PictureOrder",
    "Pictured",
    "pack",
    "unpack",
    "unpack_answer",
]  # fmt: skip

_LENGTH = struct.Struct("<I")
H = TypeVar("H")


class PictureOrder(msgspec.Struct, frozen=True):
    """Decode and resize the photo that follows: the arguments of `resized_picture`."""

    spec: PipelineSpec
    size: tuple[int, int]
    limits: Limits


class AnnotationOrder(msgspec.Struct, frozen=True):
    """Draw one of the results on the photo that follows."""

    limits: Limits
    detection: DetectionResult | None = None
    classification: ClassificationResult | None = None


class Pictured(msgspec.Struct, frozen=True, tag=True):
    """The pixels follow, as Pillow's `tobytes` writes them."""

    mode: str
    size: tuple[int, int]
    placement: Placement


class Annotated(msgspec.Struct, frozen=True, tag=True):
    """A PNG follows."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error of our tree, by its code."""

    code: str
    words: str


def pack(head: msgspec.Struct, body: bytes | memoryview = b"") -> list[bytes | memoryview]:
    """A message, in parts."""
    encoded = msgspec.msgpack.encode(head)
    return [_LENGTH.pack(len(encoded)) + encoded, body]


def unpack(message: bytes, kind: type[H]) -> tuple[H, memoryview]:
    """The head of a joined message, of a kind that is known, and the bytes that follow."""
    (length,) = _LENGTH.unpack_from(message)
    view = memoryview(message)
    start = _LENGTH.size + length
    return msgspec.msgpack.decode(view[_LENGTH.size : start], type=kind), view[start:]


def unpack_answer(message: bytes) -> tuple[Pictured | Annotated | Failed, memoryview]:
    """The same of an answer."""
    return unpack(message, Pictured | Annotated | Failed)  # type: ignore[arg-type]
