"""From the bytes of a labels file to its text: UTF-8, UTF-16 with its mark, or a named fault."""

from __future__ import annotations

import codecs
from pathlib import Path

from enginecrate.errors import LabelsInvalid

__all__ = ["decode_text"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_ZEROS = ": this looks like UTF-16 without its mark, or a binary file"

_COMMON_GBK = range(0xB0, 0xF8)
"""Lead bytes of GB 2312's Chinese characters."""


def decode_text(data: bytes, path: Path) -> str:
    """The text of a labels file.

    Raises:
        LabelsInvalid: another encoding, named as far as its bytes show which.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        like = _likely(data) if encoding == "utf-8" else ""
        raise LabelsInvalid(
            f"{path}: byte {exc.start} is not {encoding.upper().removesuffix('-SIG')} text"
            f"{like}; save the file as UTF-8"
        ) from exc
    if "\0" in text:
        raise LabelsInvalid(f"{path}{_ZEROS}; save the file as UTF-8 text")
    return text


def _likely(data: bytes) -> str:
    """An encoding that these bytes may be in, in words; a proposal, never used to decode."""
    if b"\0" in data:
        return _ZEROS
    high = [byte for byte in data if byte >= 0x80]
    if len(high) % 2 == 0 and _decodes(data, "gb18030") and _pairs(data):
        return "; this looks like GBK, or another Chinese or Korean encoding"
    if _decodes(data, "shift_jis") and len(high) > 2:
        return "; this looks like Shift-JIS, or another East Asian encoding"
    if _decodes(data, "cp1252"):
        return "; this looks like Windows-1252 or Latin-1"
    return ""


def _pairs(data: bytes) -> bool:
    """True when bytes of 0x80 and more stand in pairs, each with a common lead byte."""
    index = 0
    while index < len(data):
        if data[index] < 0x80:
            index += 1
            continue
        if data[index] not in _COMMON_GBK or index + 1 >= len(data) or data[index + 1] < 0xA1:
            return False
        index += 2
    return True


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
