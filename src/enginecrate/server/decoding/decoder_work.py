"""The work of the decoder process: functions that take and give bytes (see `isolation`)."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.annotate import annotate
from enginecrate.pipelines.resized_picture import resized_picture
from enginecrate.server.decoding.message import (
    Annotated,
    AnnotationOrder,
    Failed,
    Pictured,
    PictureOrder,
    pack,
    unpack,
)

__all__ = ["annotation", "picture"]


def picture(message: bytes) -> bytes:
    """Decode and resize: `PictureOrder` in, `Pictured` out."""
    order, photo = unpack(message, PictureOrder)
    try:
        made = resized_picture(photo, order.spec, order.size, order.limits)
    except EnginecrateError as exc:
        return _failed(exc)
    head = Pictured(made.image.mode, made.image.size, made.placement)
    return b"".join(pack(head, made.image.tobytes()))


def annotation(message: bytes) -> bytes:
    """Draw a result on a photo: `AnnotationOrder` in, `Annotated` out."""
    order, photo = unpack(message, AnnotationOrder)
    result = order.detection or order.classification
    assert result is not None  # noqa: S101 -- our own other end
    try:
        return b"".join(pack(Annotated(), annotate(photo, result, order.limits)))
    except EnginecrateError as exc:
        return _failed(exc)


def _failed(error: EnginecrateError) -> bytes:
    return b"".join(pack(Failed(error.code, str(error))))
