"""Says what is wrong with an image: what it is instead of one that we decode, or its damage."""

from __future__ import annotations

from enginecrate.errors import ImageFormatUnsupported, ImageUndecodable

__all__ = ["ACCEPTED", "damaged", "unsupported"]

ACCEPTED = "JPEG, PNG, WebP and BMP"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a BigTIFF image"),
    (b"MM\0+", "a BigTIFF image"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\1\0", "a Windows icon"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"qoif", "a QOI image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"DDS ", "a DirectDraw surface"),
    (b"PK\x03\x04", "a ZIP archive (an .npz, perhaps)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"RIFF", "a RIFF file that is not WebP (an AVI or WAV file, perhaps)"),
)

_ISO_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"crx ": "a Canon raw photo",
    b"heic": "a HEIC image",
    b"heim": "a HEIC image",
    b"heis": "a HEIC image",
    b"heix": "a HEIC image",
    b"hevc": "a HEIC image",
    b"mif1": "a HEIF image",
    b"msf1": "a HEIF image",
    b"qt  ": "a QuickTime video",
}

_ENCODED = (b"/9j/", b"iVBORw0KGgo", b"UklGR")
"""The beginnings of JPEG, PNG and WebP in base64."""


def damaged(image_format: str, reason: str) -> ImageUndecodable:
    """The error for an image that is damaged."""
    return ImageUndecodable(
        f"the {image_format} image is damaged: {reason}; send the complete file, unchanged"
    )


def unsupported(data: bytes) -> ImageFormatUnsupported:
    """The error for bytes that are not an image of an accepted format."""
    if not data:
        return ImageFormatUnsupported(
            f"the image is empty (0 bytes); send the bytes of one image file: {ACCEPTED} "
            "are accepted"
        )
    return ImageFormatUnsupported(
        f"the bytes are not an image that can be decoded: they look like {_describe(data)}; "
        f"{ACCEPTED} are accepted, recognised by their content and not by a name or content type"
    )


def _describe(data: bytes) -> str:
    for magic, words in _MAGIC:
        if data.startswith(magic):
            return words
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12], "an MP4 video")
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "a PNM image"
    return _describe_text(data[:1024]) or f"unknown data that begins with {data[:8].hex(' ')}"


def _describe_text(start: bytes) -> str | None:
    if start.startswith(_ENCODED):
        return "an image in base64: decode it first, or send it as a data URL in JSON"
    if start.startswith(b"data:"):
        return 'a data URL: send it in JSON, as {"image_url": "data:..."}'
    if not _is_text(start):
        return None
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if text.startswith(b"<"):
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if text.startswith((b"http://", b"https://")):
        return "an address: send the image itself"
    return "text"


def _is_text(start: bytes) -> bool:
    # A cut at 1024 bytes may split a character in two, so a fault in the last 3 does not count.
    try:
        start[:-3].decode("utf-8") if len(start) == 1024 else start.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
