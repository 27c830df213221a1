"""The bytes of files as scanners read them: texts of wide characters become UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Protocol

__all__ = ["as_utf8", "is_binary", "read_pieces", "read_searchable"]

_LARGEST_TEXT = 64 << 20
_LARGEST_BINARY = 1 << 20
_BEGINNING = 8192
_PIECE = 4 << 20
_OVERLAP = 1024
"""As much of a piece is seen again with the next one: no secret is longer at its beginning."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LEAST_PAIRS = 8


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def read_searchable(size: int, content: _Readable) -> bytes:
    """The bytes of a file that is searched: a text of up to 4 MiB, or anything of up to 1 MiB.

    Args:
        size: of the file.
        content: of the file, from its beginning.
    """
    return next((data for _, data in read_pieces(size, content)), b"") if size <= _PIECE else b""


def read_pieces(size: int, content: _Readable) -> Iterator[tuple[int, bytes]]:
    """The pieces of a file that is searched, each with the end of the one before it.

    Args:
        size: of the file. Texts are searched up to 64 MiB, all else up to 1 MiB.
        content: of the file, from its beginning.

    Returns:
        For each piece the number of line ends before it, and its bytes.
    """
    if not 0 < size <= _LARGEST_TEXT:
        return
    piece = content.read(_BEGINNING)
    encoding = _encoding(piece)
    if size > _LARGEST_BINARY and is_binary(piece) and not encoding:
        return
    piece += content.read(_PIECE - len(piece))
    lines = 0
    while piece:
        yield lines, piece
        more = content.read(_PIECE)
        lines += piece.count(b"\n", 0, len(piece) - _OVERLAP) if more else 0
        # UTF-16 is known by its beginning: later pieces are read with the same eyes.
        piece = _with_mark(piece[-_OVERLAP:] + more, encoding) if more else b""


def is_binary(data: bytes) -> bool:
    """True if a file is no text: it has zero bytes in its beginning."""
    return b"\0" in data[:_BEGINNING]


def as_utf8(data: bytes) -> bytes:
    """A text in UTF-16 or UTF-32 as UTF-8; everything else as it is, without a mark before it."""
    encoding = _encoding(data)
    if not encoding:
        return data.removeprefix(codecs.BOM_UTF8)
    return data.decode(encoding, "replace").removeprefix("\ufeff").encode("utf-8", "replace")


def _encoding(data: bytes) -> str:
    """The encoding of a text of wide characters: by its mark, or by where its zeros stand."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    beginning = data[: min(len(data), _BEGINNING) & ~1]
    pairs = len(beginning) // 2
    if pairs < _LEAST_PAIRS:
        return ""
    low, high = beginning[::2].count(0), beginning[1::2].count(0)
    if high > 0.8 * pairs and not low:
        return "utf-16-le"
    return "utf-16-be" if low > 0.8 * pairs and not high else ""


def _with_mark(data: bytes, encoding: str) -> bytes:
    """The data with the mark of their encoding before them."""
    return next((mark for mark, name in _MARKS if name == encoding), b"") + data
