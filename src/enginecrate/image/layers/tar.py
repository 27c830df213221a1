"""A tar archive that depends on its entries alone: fixed time, owners and order of fields.

Written by hand, since the bytes of a library's headers may change with its version.
Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Entry, Folder, Link, RegularFile

__all__ = ["MODIFIED", "tar_pieces", "tar_size"]

MODIFIED = 315_619_200
"""1980-01-02 UTC, the time of every file: zip tools refuse 1979, wherever on Earth they run."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_LARGEST = 8**11 - 1


def tar_size(entries: Iterable[Entry]) -> int:
    """The size of the archive in bytes, before anything is read."""
    return sum(len(_headers(one)) + _padded(_size(one)) for one in entries) + len(_END)


def tar_pieces(entries: Sequence[Entry]) -> Iterator[bytes]:
    """The archive, piece by piece, in the order of the entries.

    Raises:
        RecipeInvalid: a file changed while it was read.
        ArchiveUnsafe, ArtifactChanged: a file in an archive is not what it should be.
    """
    for entry in entries:
        yield _headers(entry)
        if not isinstance(entry, RegularFile):
            continue
        expected, written = entry.size, 0
        for piece in entry.pieces():
            written += len(piece)
            yield piece
        if written != expected:
            raise RecipeInvalid(
                f"{entry.path} changed while it was read ({expected} bytes, then {written}); "
                "build again when it is at rest"
            )
        yield bytes(_padded(written) - written)
    yield _END


def _headers(entry: Entry) -> bytes:
    """The header of an entry; before it an extended one for what does not fit into it."""
    name, link, kind, mode, owner = entry.path, "", b"0", 0o777, 0
    match entry:
        case RegularFile():
            mode = entry.mode
        case Folder():
            name, kind, mode, owner = f"{name}/", b"5", entry.mode, entry.owner
        case Link():
            link, kind = entry.target, b"2"
    size = _size(entry)
    records = b"".join(
        _record(key, text)
        for key, text, fits in (
            ("linkpath", link, _fits(link)),
            ("path", name, _fits(name)),
            ("size", str(size), size <= _LARGEST),
        )
        if not fits
    )
    extended = b""
    if records:
        extended = _header(b"././@PaxHeader", b"x", size=len(records), mode=0o644)
        extended += records.ljust(_padded(len(records)), b"\0")
    return extended + _header(
        name.encode()[:100],
        kind,
        size=min(size, _LARGEST),
        mode=mode,
        owner=owner,
        link=link.encode()[:100],
    )


def _header(
    name: bytes, kind: bytes, *, size: int, mode: int, owner: int = 0, link: bytes = b""
) -> bytes:
    fields = (
        name.ljust(100, b"\0"),
        _octal(mode, 8),
        _octal(owner, 8),
        _octal(owner, 8),
        _octal(size, 12),
        _octal(MODIFIED, 12),
        b" " * 8,  # the checksum counts itself as spaces
        kind,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),  # names of owner and group
        _octal(0, 8) * 2,
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def _record(key: str, text: str) -> bytes:
    """`length key=value newline`, where the length counts its own digits, too."""
    rest = f" {key}={text}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _fits(text: str) -> bool:
    return text.isascii() and len(text) <= 100


def _size(entry: Entry) -> int:
    return entry.size if isinstance(entry, RegularFile) else 0


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
