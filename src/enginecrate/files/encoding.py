"""Text files and bodies as editors and shells write them: with a byte order mark, or in UTF-16."""

from __future__ import annotations

__all__ = ["utf8"]

_UTF8 = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def utf8(data: bytes) -> bytes:
    """UTF-8 without its byte order mark, which RFC 8259, section 8.1, lets a reader ignore.

    Only the beginning is looked at.

    Raises:
        UnicodeError: it is UTF-16 or UTF-32; the message says so.
    """
    if data.startswith(_UTF8):
        return data[len(_UTF8) :]
    mark = data.startswith(_UTF16)
    if mark or (len(data) > 1 and 0 in data[:2]):
        reason = f"a byte order mark, {data[:2].hex(' ')}" if mark else "a zero byte at its start"
        raise UnicodeError(f"it is in UTF-16 or UTF-32 ({reason}); write it as UTF-8")
    return data
