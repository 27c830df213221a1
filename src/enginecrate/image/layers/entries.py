"""What a layer is made of: files, folders and links with everything that a tar header says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from enginecrate.image.oci import Descriptor

__all__ = ["Contents", "Entry", "Folder", "Layer", "LayerRecipe", "Link", "RegularFile"]


@dataclass(frozen=True, slots=True)
class RegularFile:
    """A file. `content`: its bytes, or a file on this machine that is read when it is written.

    path: in the image, without a leading slash: `usr/bin/python3.11`.
    mode: permission bits; owner and times are the layer writer's.
    """

    path: str
    content: bytes | Path
    mode: int = 0o644


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
    """Where entries come from: a .deb, a wheel, a folder, files made in memory.

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
