"""Entries of a layer: files, folders and links with everything that a tar header says.

`Contents` give entries. Their key is one digest over everything that decides them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from enginecrate.errors import RecipeInvalid
from enginecrate.image.formats.oci import Descriptor

__all__ = [
    "PIECE",
    "Contents",
    "Entry",
    "Folder",
    "Layer",
    "LayerRecipe",
    "Link",
    "RegularFile",
    "key_of",
]

PIECE = 1 << 20
"""Bytes that are read at once."""


class _Stored(Protocol):
    """Bytes that stay where they are until they are written: a part of an archive."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> Iterator[bytes]:
        """Exactly `size` bytes. May be called again. Raises `ArchiveUnsafe`, `ArtifactChanged`."""
        ...


@dataclass(frozen=True, slots=True)
class RegularFile:
    """A file. `content`: its bytes, or a file here or in an archive, read when it is written.

    path: in the image, without a leading slash: `usr/bin/python3.11`.
    mode: permission bits; owner and times are the layer writer's.
    """

    path: str
    content: bytes | Path | _Stored
    mode: int = 0o644

    @property
    def size(self) -> int:
        """In bytes. Raises `OSError`."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return self.content.stat().st_size if isinstance(self.content, Path) else self.content.size

    def pieces(self) -> Iterator[bytes]:
        """The bytes, piece by piece. Raises `RecipeInvalid` when the file changes meanwhile."""
        if isinstance(self.content, bytes):
            return iter((self.content,) if self.content else ())
        return self._read(self.content) if isinstance(self.content, Path) else self.content.pieces()

    def read(self) -> bytes:
        """All bytes at once; for small files only."""
        return b"".join(self.pieces())

    def _read(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while piece := file.read(min(PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise RecipeInvalid(f"{path} changed while it was read; build again when it is at rest")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. Parents that nothing names are made with 0755."""

    path: str
    mode: int = 0o755
    owner: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


Entry = RegularFile | Folder | Link


class Contents(Protocol):
    """A source of entries: a .deb, a wheel, a folder, files made in memory.

    key: a digest of everything that decides the entries; the same key means the same entries. With
        it a layer is found in the cache without making the entries.
    """

    @property
    def key(self) -> str: ...

    def entries(self) -> Iterable[Entry]:
        """In any order. Raises `ArchiveUnsafe`, `ArtifactChanged`, `OSError`."""
        ...


@dataclass(frozen=True, slots=True)
class LayerRecipe:
    """One layer. `title`: for people and for the history, `Debian base`, `engine sm86`."""

    title: str
    contents: tuple[Contents, ...]

    def __iter__(self) -> Iterator[Contents]:
        return iter(self.contents)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that was written. `diff_id`: digest of the uncompressed tar; `size` is of that."""

    title: str
    descriptor: Descriptor
    diff_id: str
    size: int


def key_of(*parts: str | bytes) -> str:
    """The key of parts; it also depends on where one part ends and the next begins."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(f"{len(data)}:".encode())
        hasher.update(data)
    return f"sha256:{hasher.hexdigest()}"
