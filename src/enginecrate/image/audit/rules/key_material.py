"""Private keys and key stores in binary forms, known by their structure and never by a name.

Sources: RFC 5958 (PKCS #8), RFC 8017 (PKCS #1), RFC 5915 (SEC 1), RFC 7292 (PKCS #12), RFC 9580
(OpenPGP packets); OpenJDK, JavaKeyStore (JKS and JCEKS); KeePass, KDBX; MIT Kerberos, keytab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

__all__ = ["binary_secret", "is_store_without_keys"]

_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06
_PKCS7_DATA = bytes.fromhex("2a864886f70d010701")
_PKCS7_SIGNED = bytes.fromhex("2a864886f70d010702")
_PBES = (bytes.fromhex("2a864886f70d01050d"), bytes.fromhex("2a864886f70d010c01"))
"""PBES2, and the beginning of the older ways of PKCS #12."""
_KEY_BAGS = (
    bytes.fromhex("060b2a864886f70d010c0a0101"),
    bytes.fromhex("060b2a864886f70d010c0a0102"),
)
_JAVA_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_OPENPGP_ALGORITHMS = frozenset((1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28))
_KDBX = b"\x03\xd9\xa2\x9a"
_MOST_ENTRIES = 10_000
_TRAILING = 2
"""Line ends that an editor may have put after a key."""

_CURVE_BYTES = (20, 24, 28, 32, 48, 66)
_LEAST_MODULUS = 64

Form = Literal["key", "store"]
_Element = tuple[int, int, int]
"""Tag, start and end of the content."""


def binary_secret(data: bytes) -> tuple[Form, str] | None:
    """The private key or the key store that a whole file is, with words for it; None: neither."""
    if data[:1] == b"\x30":
        return _der(data)
    if data[:4] in _JAVA_STORES:
        return ("store", "a key store of Java with a private key") if _java_keys(data) else None
    if data[:4] == _KDBX:
        return "store", "a password store (KeePass)"
    if data[:2] == b"\x05\x02" and _is_keytab(data):
        return "store", "keys of Kerberos (keytab)"
    if _is_openpgp(data):
        return "key", "a private key (OpenPGP)"
    if data[:32] == b"== ed25519v1-secret: type0 ==\0\0\0":
        return "key", "a private key (onion service)"
    if data[:11] in (b"\0\0\0\x07ssh-rsa", b"\0\0\0\x0bssh-ed") and 80 < len(data) < 4096:
        return "key", "a private key (Dropbear)"
    return None


def is_store_without_keys(data: bytes) -> bool:
    """True if a file is a whole key store that holds certificates alone, to trust them."""
    if data[:4] in _JAVA_STORES:
        return _java_keys(data) is False
    return _is_pkcs12(data) and not _has_key_bag(data)


def _der(data: bytes) -> tuple[Form, str] | None:
    outer = _element(data, 0)
    if outer is None or not len(data) - _TRAILING <= outer[2] <= len(data):
        return None
    if _is_pkcs12(data):
        return ("store", "a key store (PKCS #12) with a key") if _has_key_bag(data) else None
    parts = list(_elements(data, outer[1], outer[2]))
    words = _pkcs8(data, parts) or _bare_key(data, parts)
    return ("key", words) if words else None


def _pkcs8(data: bytes, parts: Sequence[_Element]) -> str:
    """Words for a key that says of which algorithm it is, or how it is encrypted."""
    tags = [tag for tag, _, _ in parts]
    if tags[:3] == [_INTEGER, _SEQUENCE, _OCTETS]:
        inner = _element(data, parts[1][1])
        if _content(data, parts[0]) in (b"\0", b"\1") and inner and inner[0] == _OID:
            return "a private key (PKCS #8, DER)"
    if tags == [_SEQUENCE, _OCTETS]:
        inner = _element(data, parts[0][1])
        if inner and inner[0] == _OID and _content(data, inner).startswith(_PBES):
            return "an encrypted private key (PKCS #8, DER)"
    return ""


def _bare_key(data: bytes, parts: Sequence[_Element]) -> str:
    """Words for a key in the form of its algorithm."""
    tags = [tag for tag, _, _ in parts]
    if len(parts) < 2 or tags[0] != _INTEGER:
        return ""
    version, size = _content(data, parts[0]), parts[1][2] - parts[1][1]
    if tags[1] == _OCTETS and version == b"\1" and set(tags[2:]) <= {0xA0, 0xA1}:
        return "a private key (EC, DER)" if size in _CURVE_BYTES else ""
    numbers = len(tags) in (6, 9, 10) and set(tags[:9]) == {_INTEGER}
    if numbers and version in (b"\0", b"\1") and size >= _LEAST_MODULUS:
        return f"a private key ({'DSA' if len(tags) == 6 else 'RSA'}, DER)"
    return ""


def _is_pkcs12(data: bytes) -> bool:
    outer = _element(data, 0)
    if outer is None or outer[0] != _SEQUENCE:
        return False
    version = _element(data, outer[1])
    if version is None or data[version[1] : version[2]] != b"\3":
        return False
    content = _element(data, version[2])
    oid = _element(data, content[1]) if content and content[0] == _SEQUENCE else None
    return oid is not None and data[oid[1] : oid[2]] in (_PKCS7_DATA, _PKCS7_SIGNED)


def _has_key_bag(data: bytes) -> bool:
    return any(bag in data for bag in _KEY_BAGS)


def _element(data: bytes, start: int) -> _Element | None:
    """Tag, start and end of the content of the element of DER (or BER) at `start`."""
    if start + 2 > len(data):
        return None
    tag, length, begin = data[start], data[start + 1], start + 2
    if length == 0x80:
        return tag, begin, len(data)  # BER without a length
    if length > 0x80:
        count = length & 0x7F
        if count > 4 or begin + count > len(data):
            return None
        length, begin = int.from_bytes(data[begin : begin + count]), begin + count
    return (tag, begin, begin + length) if begin + length <= len(data) else None


def _content(data: bytes, element: _Element) -> bytes:
    return data[element[1] : element[2]]


def _elements(data: bytes, start: int, end: int) -> Iterator[_Element]:
    """At most a dozen elements that follow each other: no key has more of them."""
    for _ in range(12):
        element = _element(data, start) if start < end else None
        if element is None:
            return
        yield element
        start = element[2]


def _java_keys(data: bytes) -> bool | None:
    """True if a store of Java has a private or a secret key; None when it is not whole."""
    try:
        version, count, at = _integer(data, 4), _integer(data, 8), 12
        if version not in (1, 2) or count > _MOST_ENTRIES:
            return None
        for _ in range(count):
            tag, at = _integer(data, at), at + 4
            if tag != 2:  # 1: a private key, 3: a secret key
                return tag in (1, 3) or None
            at += 2 + _integer(data, at, 2) + 8
            if version == 2:
                at += 2 + _integer(data, at, 2)
            at += 4 + _integer(data, at)
    except IndexError:
        return None
    return False


def _integer(data: bytes, at: int, size: int = 4) -> int:
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size])


def _is_keytab(data: bytes) -> bool:
    """The first entry of version 2 is as long as it says, and its parts are within it."""
    if len(data) < 16:
        return False
    length, count, realm = _integer(data, 2), _integer(data, 6, 2), _integer(data, 8, 2)
    return 12 <= length <= len(data) - 6 and 0 < count <= 8 and 0 < realm < length


def _is_openpgp(data: bytes) -> bool:
    """The first packet is a secret key (tag 5) of a known version and algorithm."""
    if len(data) < 40 or data[0] not in (0x94, 0x95, 0x96, 0xC5):
        return False
    if data[0] == 0xC5:
        first = data[1]
        size = 1 if first < 192 else 2 if first < 224 else 5
        length = {1: first, 2: (first - 192 << 8) + data[2] + 192, 5: _integer(data, 2)}[size]
    else:
        size = 1 << (data[0] & 3)
        length = int.from_bytes(data[1 : 1 + size])
    body = 1 + size
    fits = 32 <= length <= len(data) - body
    return fits and data[body] in (4, 5, 6) and data[body + 5] in _OPENPGP_ALGORITHMS
