"""The images in the body of `POST /v1/predict`: raw, multipart, or a data URL in JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from enginecrate.errors import MediaTypeUnsupported, RequestInvalid
from enginecrate.files.encoding import utf8
from enginecrate.server.http.messages import shown

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["is_raw", "read_payloads"]

_RAW = {
    "",
    "application/octet-stream",
    "application/x-npz",
    "application/zip",
    "application/x-www-form-urlencoded",  # what `curl --data-binary @photo.jpg` says by itself
}


def is_raw(content_type: str) -> bool:
    """True when the whole body is the one payload."""
    media_type = _media_type(content_type)
    return media_type in _RAW or media_type.startswith("image/")


def read_payloads(content_type: str, body: bytes | memoryview, max_images: int) -> Sequence[bytes]:
    """Every image in a body, in order.

    Args:
        content_type: the header; empty when there is none.
        body: decompressed.
        max_images: more are refused.

    Raises:
        MediaTypeUnsupported: the content type is not one of those that are taken.
        RequestInvalid: the body is empty, malformed, or holds no image or too many.
    """
    media_type = _media_type(content_type)
    if not body:
        raise RequestInvalid("the body is empty; send an image in it")
    body = bytes(body)  # the photos outlive the connection's memory
    if is_raw(content_type):
        return [body]
    if media_type == "multipart/form-data":
        return _multipart(content_type, body, max_images)
    if media_type == "application/json":
        return [_data_url(body)]
    raise MediaTypeUnsupported(
        f"Content-Type {shown(media_type)} is not taken; send the image itself as image/jpeg, "
        'image/png or image/webp, several as multipart/form-data, or {"image_url": "data:..."} '
        "as application/json"
    )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class _JsonBody(msgspec.Struct):
    image_url: str


def _data_url(body: bytes) -> bytes:
    try:
        url = msgspec.json.decode(utf8(body), type=_JsonBody).image_url
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise RequestInvalid(
            f'the body is not JSON of the form {{"image_url": "data:..."}}: '
            f"{str(exc).replace('`', '')}"
        ) from exc
    head, comma, data = url.partition(",")
    if not head.lower().startswith("data:"):
        raise RequestInvalid(
            f"image_url is {shown(url)}; only data: URLs are taken. The server fetches nothing, "
            "since callers could reach its private network that way: send the image itself"
        )
    if not comma or not head.lower().endswith(";base64"):
        raise RequestInvalid(
            f"image_url begins with {shown(head)}; write data:image/png;base64, and then the data"
        )
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise RequestInvalid(f"image_url holds no valid base64 data: {exc}") from exc


def _multipart(content_type: str, body: bytes, max_images: int) -> Sequence[bytes]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestInvalid("Content-Type multipart/form-data names no boundary")
    parts = _Parts(max_images)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise RequestInvalid(f"the multipart body is malformed: {exc}") from exc
    if not parts.ended:
        raise RequestInvalid("the multipart body ends too early: its closing boundary is missing")
    if not parts.images:
        raise RequestInvalid(
            "the multipart body holds no file; send each image as a part with a file name, for "
            "example: curl -F image=@photo.jpg"
        )
    return parts.images


class _Parts:
    """Collects the parts that are files. Text fields are passed over."""

    def __init__(self, max_images: int) -> None:
        self.images: list[bytes] = []
        self.ended = False
        self._max_images = max_images
        self._max_parts = 2 * max_images + 16
        self._count = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._pieces: list[bytes] = []
        self._wanted = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all_ended,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise RequestInvalid(f"the multipart body has more than {self._max_parts} parts")
        self._headers = {}
        self._pieces = []

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition", b""))[1]
        media_type = self._headers.get(b"content-type", b"").lower()
        typed = media_type.startswith((b"image/", b"application/octet-stream"))
        self._wanted = b"filename" in options or typed

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        if not self._wanted:
            return
        if len(self.images) == self._max_images:
            raise RequestInvalid(
                f"the request has more than {self._max_images} images (setting max_images); "
                "send several requests"
            )
        self.images.append(b"".join(self._pieces))
        self._pieces = []

    def _all_ended(self) -> None:
        self.ended = True
