"""The uncompressed bytes of a layer, as a stream: gzip, zstd or plain tar."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, BinaryIO, cast

from enginecrate.errors import ImageInvalid, MissingExtra
from enginecrate.image.formats.oci import Descriptor

if TYPE_CHECKING:
    from enginecrate.image.transports.base import ImageSource

__all__ = ["open_layer"]

_PIECE = 1 << 18
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable frame (RFC 8878, section 3.1.2): zstd:chunked may begin so."""
_LARGEST_WINDOW = 1 << 27
"""128 MiB, which decoders must offer without being asked (`zstd --ultra` stays within it)."""


@contextmanager
def open_layer(
    transport: ImageSource, descriptor: Descriptor, count: Callable[[int], None] = lambda size: None
) -> Iterator[BinaryIO]:
    """The tar of a layer, to be read in pieces.

    The first bytes decide about the compression, as in container runtimes, and not the media type.
    At the end of the `with` the rest of the blob has been read, so its digest is proven.

    Args:
        transport: where the layer is.
        descriptor: of the layer's blob.
        count: called with the size of every compressed piece, for progress.

    Raises:
        ImageInvalid: the compressed data are damaged or end early.
        BlobCorrupt: the blob is not what its digest promises.
        MissingExtra: the layer is zstd, and the extra `image` is not installed.
    """
    pieces = _Pieces(transport.read_blob(descriptor), count)
    compressed: io.BufferedReader = io.BufferedReader(pieces, _PIECE)
    with pieces, _translated(descriptor.digest), _decompressed(compressed) as unpacked:
        yield cast(BinaryIO, unpacked)
        for rest in (unpacked, compressed):
            while rest.read(_PIECE):
                pass


def _decompressed(compressed: io.BufferedReader) -> AbstractContextManager[io.BufferedIOBase]:
    start = compressed.peek(4)[:4]
    if start.startswith(_GZIP):
        return cast(
            "AbstractContextManager[io.BufferedIOBase]",
            gzip.GzipFile(fileobj=compressed, mode="rb"),
        )
    if start == _ZSTD or start[1:] == _SKIPPABLE:
        return io.BufferedReader(_zstd_reader(compressed), _PIECE)
    return nullcontext(compressed)


def _zstd_reader(compressed: io.BufferedReader) -> io.RawIOBase:
    try:
        import zstandard
    except ModuleNotFoundError as exc:
        raise MissingExtra("zstandard", extra="image") from exc
    unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    reader = unpacker.stream_reader(compressed, read_size=_PIECE, read_across_frames=True)
    return cast(io.RawIOBase, reader)


@contextmanager
def _translated(digest: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise _damaged(digest, exc) from exc
    except Exception as exc:
        # The library is optional: its class is known by name alone.
        if type(exc).__name__ != "ZstdError":
            raise
        raise _damaged(digest, exc) from exc


def _damaged(digest: str, cause: Exception) -> ImageInvalid:
    return ImageInvalid(
        f"the layer {digest} cannot be decompressed: {cause}; build or push the image again"
    )


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a raw file."""

    def __init__(self, pieces: Iterator[bytes], count: Callable[[int], None]) -> None:
        self._pieces, self._count = pieces, count
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._count(len(piece))
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None and not self.closed:
            close()
        super().close()
