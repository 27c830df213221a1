"""Downloads of blobs from a registry, which go on where they broke off, also in another run.

Source: OCI Distribution Specification 1.1, "Pulling blobs"; RFC 9110, 14 (range requests).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from enginecrate.errors import BlobCorrupt, RegistryUnavailable
from enginecrate.files.locks import claim
from enginecrate.http_client import ExchangeFailed, Response
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.base import checked
from enginecrate.image.transports.registry.client import Call, Connection
from enginecrate.image.transports.registry.responses import Answer, error_for, read_limited
from enginecrate.image.transports.registry.retries import RetryableError
from enginecrate.image.transports.registry.tls import translate
from enginecrate.values import Digest

__all__ = ["download"]

_PIECE = 1 << 20
_KEPT_SECONDS = 7 * 24 * 3600.0
_WORTH_KEEPING = 1 << 20
"""Bytes: smaller blobs are loaded again rather than kept in part."""
_PROGRESS = 1 << 20
"""Bytes that must arrive between two breaks, or the break counts as another failed try."""
_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(?:\d+|\*)")


def download(connection: Connection, call: Call, descriptor: Descriptor) -> Iterator[bytes]:
    """The bytes of a blob; at their end `BlobCorrupt`, unless they were the right ones.

    Args:
        connection: the way to the registry.
        call: the request for the whole blob.
        descriptor: of the blob.
    """
    keep = connection.options.downloads if descriptor.size >= _WORTH_KEEPING else None
    partial = _open_partial(keep, digest_of(descriptor))
    if partial is None:
        yield from checked(_load(connection, call, descriptor.size, 0), descriptor, call.what)
        return
    try:
        pieces = _resumed(connection, call, descriptor, partial)
        yield from checked(pieces, descriptor, call.what)
        partial.remove()
    except BlobCorrupt:
        partial.remove()
        raise
    finally:
        partial.close()


def _resumed(
    connection: Connection, call: Call, descriptor: Descriptor, partial: _Partial
) -> Iterator[bytes]:
    """Kept bytes are passed on when the whole blob is right: damaged ones may have been kept."""
    if partial.size and not _completed(connection, call, descriptor, partial):
        partial.clear()
    start = partial.size
    yield from partial.pieces()
    for piece in _load(connection, call, descriptor.size, start):
        partial.append(piece)
        yield piece


def _completed(
    connection: Connection, call: Call, descriptor: Descriptor, partial: _Partial
) -> bool:
    """Load what is missing behind the kept bytes; True when all of it is the blob."""
    if partial.size < descriptor.size:
        for piece in _load(connection, call, descriptor.size, partial.size):
            partial.append(piece)
    return partial.size == descriptor.size and partial.digest() == digest_of(descriptor)


def _load(connection: Connection, call: Call, size: int, start: int) -> Iterator[bytes]:
    """The bytes from `start` on, over as many connections as it takes."""
    position, mark, attempt, refused_at = start, start, 0, -1
    while position < size:
        try:
            for piece in _once(connection, call, position, size, ranged=refused_at < 0):
                position += len(piece)
                yield piece
            if position < size:
                raise RetryableError(_cut_short(call, position, size))
        except _RangeRefused:
            # Once more, from the beginning: is it the range that the registry lacks, or the bytes?
            refused_at = position
        except RetryableError as again:
            if position == refused_at:
                raise _cut_short(call, position, size) from again
            if position - mark >= _PROGRESS:
                mark, attempt = position, 0
            connection.options.retry.pause(attempt, again)
            attempt += 1


class _RangeRefused(Exception):
    """The registry says that the blob has no such part."""


def _cut_short(call: Call, position: int, size: int) -> BlobCorrupt:
    return BlobCorrupt(
        f"{call.what}: it ends after {position} of {size} bytes; if that happens again, the "
        "storage of the registry is damaged: push the image again"
    )


def _once(
    connection: Connection, call: Call, position: int, size: int, *, ranged: bool
) -> Iterator[bytes]:
    """The bytes from `position` on that one answer has. Raises `BlobCorrupt`: the blob ends early,
    and not the connection.
    """
    headers = {"Range": f"bytes={position}-"} if position and ranged else {}
    request = Call(call.method, call.path, call.what, call.scopes, {**call.headers, **headers})
    with connection.open_once(request) as response:
        try:
            skip = _bytes_to_skip(
                response, position, call.what, connection.registry, ranged=bool(headers)
            )
            for piece in response.pieces():
                yield piece[skip:]
                position += len(piece[skip:])
                skip = max(0, skip - len(piece))
        except ExchangeFailed as exc:
            raise translate(exc, call.what, connection.registry) from exc
        if position < size and "content-length" in response.headers:
            raise _cut_short(call, position, size)


def _bytes_to_skip(response: Response, position: int, what: str, host: str, *, ranged: bool) -> int:
    """0 when the answer begins at `position`; `position` when the server knows no ranges."""
    if response.status == 200:
        return position
    if response.status == 206 and position:
        begin = _RANGE.match(response.headers.get("content-range", ""))
        if begin and int(begin[1]) == position:
            return 0
        raise RegistryUnavailable(f"{what}: {host} answers with another part than was asked for")
    if response.status == 416 and ranged:
        raise _RangeRefused
    body = read_limited(response, 1 << 20, host)
    raise error_for(Answer(response.status, response.headers, body, response.url), what)


class _Partial:
    """The first bytes of a blob, in a file that this process alone uses until `close`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._full = path, False
        self._file = open(descriptor, "a+b")  # noqa: SIM115  closed by `close`

    def pieces(self) -> Iterator[bytes]:
        """The bytes that are there already; afterwards `append` goes on behind them."""
        self._file.seek(0)
        yield from iter(lambda: self._file.read(_PIECE), b"")

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def digest(self) -> Digest:
        """The digest of the bytes that are there."""
        hasher = hashlib.sha256()
        for piece in self.pieces():
            hasher.update(piece)
        return Digest(f"sha256:{hasher.hexdigest()}")

    def append(self, piece: bytes) -> None:
        """Keep a piece; a disk that is full only means that nothing more is kept."""
        if not self._full:
            try:
                self._file.write(piece)
                self._file.flush()
            except OSError:
                self._full = True

    def clear(self) -> None:
        """Forget all bytes."""
        self._file.seek(0)
        self._file.truncate()

    def remove(self) -> None:
        """Remove the file: the blob is complete, or of no use."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _open_partial(folder: Path | None, digest: Digest) -> _Partial | None:
    """The kept part of a blob, perhaps empty; None when there is no folder that can be used, or
    another process is loading the same blob.
    """
    if folder is None:
        return None
    path = folder / digest.hex
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _drop_old(folder)
        descriptor = claim(path, create=True)
    except OSError:
        return None
    return None if descriptor is None else _Partial(path, descriptor)


def _drop_old(folder: Path) -> None:
    before = time.time() - _KEPT_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()
