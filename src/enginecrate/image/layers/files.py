"""Contents from a folder of this machine, and files that are made in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import PIECE, Entry, Folder, Link, RegularFile, key_of
from enginecrate.image.layers.safe_paths import link_target, safe_path

__all__ = ["BytesContents", "EntryContents", "FolderContents"]


def _keep_all(path: str) -> bool:
    """A filter that keeps everything."""
    return True


class EntryContents:
    """Entries that are known already: files in memory, folders with an owner, links.

    A file given by its path on this machine is digested when the key is asked for.
    """

    def __init__(self, name: str, entries: Iterable[Entry]) -> None:
        self._name, self._entries = name, tuple(entries)

    def __str__(self) -> str:
        return self._name

    @cached_property
    def key(self) -> str:
        return key_of("entries", *(part for one in self._entries for part in _facts(one)))

    def entries(self) -> Iterator[Entry]:
        yield from self._entries


class BytesContents(EntryContents):
    """Files made in memory: their paths in the image, and their bytes."""

    def __init__(self, name: str, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
        super().__init__(name, (RegularFile(path, data, mode) for path, data in files.items()))


class FolderContents:
    """A folder of this machine, or a single file, at a path in the image.

    Modes become 0755 for folders and what its owner may execute, else 0644. `__pycache__` is always
    left out. Links must stay inside of the folder.
    """

    def __init__(
        self, source: Path, at: str, *, keep: Callable[[str], bool] = _keep_all, name: str = ""
    ) -> None:
        """`keep`: is given each path relative to `source`, with `/`; a folder's is asked, too."""
        self._source, self._at, self._keep = source, at.strip("/"), keep
        self._name = name or str(source)

    def __str__(self) -> str:
        return self._name

    @cached_property
    def key(self) -> str:
        return key_of("folder", *(part for one in self._found for part in _facts(one)))

    def entries(self) -> Iterator[Entry]:
        """Raises `RecipeInvalid`: a file is neither file, folder nor link, or it changed."""
        yield from self._found

    @cached_property
    def _found(self) -> tuple[Entry, ...]:
        if self._source.is_file():
            return (_file(self._source, self._at),)
        if not self._source.is_dir():
            raise RecipeInvalid(f"{self._source} is not there; build it, or leave it out")
        return tuple(self._walk(self._source, ""))

    def _walk(self, folder: Path, inside: str) -> Iterator[Entry]:
        yield Folder(f"{self._at}/{inside}".strip("/"))
        for path in sorted(folder.iterdir(), key=lambda one: one.name.encode()):
            relative = safe_path(f"{inside}/{path.name}".strip("/"), str(self._source))
            if path.name == "__pycache__" or not self._keep(relative):
                continue
            if path.is_symlink():
                yield self._link(path, relative)
            elif path.is_dir():
                yield from self._walk(path, relative)
            elif path.is_file():
                yield _file(path, f"{self._at}/{relative}".strip("/"))
            else:
                raise RecipeInvalid(f"{path} is neither file, folder nor link; leave it out")

    def _link(self, path: Path, relative: str) -> Link:
        target = str(path.readlink())
        if target.startswith("/"):
            raise RecipeInvalid(
                f"{path} is a link to {target}, which is not in the image; make it relative, or "
                "copy the file"
            )
        return Link(
            f"{self._at}/{relative}".strip("/"), link_target(relative, target, str(self._source))
        )


@dataclass(frozen=True, slots=True)
class _CheckedFile:
    """A file of this machine that must still be what it was when its key was made."""

    path: Path
    size: int
    sha256: str

    def pieces(self) -> Iterator[bytes]:
        hasher, left = hashlib.sha256(), self.size
        with self.path.open("rb") as file:
            while left and (piece := file.read(min(PIECE, left))):
                hasher.update(piece)
                left -= len(piece)
                yield piece
            if left or file.read(1) or hasher.hexdigest() != self.sha256:
                raise RecipeInvalid(f"{self.path} changed while the image was built; build again")


def _file(path: Path, at: str) -> RegularFile:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    mode = 0o755 if status.st_mode & 0o100 else 0o644
    return RegularFile(at, _CheckedFile(path, status.st_size, sha256), mode)


def _facts(entry: Entry) -> tuple[str, ...]:
    """Everything that decides an entry, as texts."""
    match entry:
        case RegularFile(path, _CheckedFile(sha256=sha256), mode):
            return ("file", path, f"{mode:o}", sha256)
        case RegularFile(path, _, mode):
            hasher = hashlib.sha256()
            for piece in entry.pieces():
                hasher.update(piece)
            return ("file", path, f"{mode:o}", hasher.hexdigest())
        case Folder(path, mode, owner):
            return ("folder", path, f"{mode:o}", str(owner))
        case Link(path, target):
            return ("link", path, target)
