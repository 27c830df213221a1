"""Bytes that are compared with their digest and size while they pass by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from enginecrate.errors import BlobCorrupt
from enginecrate.image.formats.oci import Descriptor

__all__ = ["checked"]


def checked(chunks: Iterable[bytes], descriptor: Descriptor, where: str) -> Iterator[bytes]:
    """The same pieces; at their end `BlobCorrupt`, unless digest and size were right.

    Bytes beyond the size are never passed on.
    """
    hasher, size = hashlib.sha256(), 0
    for piece in chunks:
        size += len(piece)
        if size > descriptor.size:
            break
        hasher.update(piece)
        yield piece
    if size != descriptor.size or f"sha256:{hasher.hexdigest()}" != descriptor.digest:
        raise BlobCorrupt(
            f"{where}: the bytes of {descriptor.digest} are not what its digest and size "
            f"({descriptor.size}) promise; copy it again from its source"
        )
