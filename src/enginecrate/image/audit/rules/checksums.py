"""Checksums in tokens: a token whose checksum is wrong was never issued.

Sources: GitHub, Behind GitHub's new authentication token formats (2021), which npm shares; Grafana,
the package `apikeygen` of its source.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

__all__ = ["CHECKSUMS", "base62"]

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number: int, width: int) -> bytes:
    """Digits of base 62, with zeros before them up to `width`."""
    digits = bytearray()
    while number:
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return bytes(reversed(digits)).rjust(width, b"0")


def _crc32_base62(token: bytes) -> bool:
    """The last six characters are the CRC-32 of those between the prefix and them."""
    body = token.partition(b"_")[2]
    return body[-6:] == base62(zlib.crc32(body[:-6]), 6)


def _crc32_hex_little(token: bytes) -> bool:
    """After the last `_` stands the CRC-32 of all before it, lowest byte first, as hexadecimal."""
    body, _, checksum = token.rpartition(b"_")
    return checksum.lower() == zlib.crc32(body).to_bytes(4, "little").hex().encode()


CHECKSUMS: Mapping[str, Callable[[bytes], bool]] = {
    "": lambda _: True,
    "crc32-base62": _crc32_base62,
    "crc32-hex-little": _crc32_hex_little,
}
"""The proof of a token by the name that the table of tokens uses."""
