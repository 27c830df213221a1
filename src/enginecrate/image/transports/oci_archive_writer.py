"""A writer of `.tar` files in which every byte has its position before the first is written.

All sizes are known from the manifests, so transfers can write side by side, and an interrupted
one is found again by its digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from enginecrate.errors import ImageError, SystemRefused
from enginecrate.files.disk_errors import is_full
from enginecrate.files.locks import claim
from enginecrate.image.formats.oci import Descriptor

__all__ = ["ArchiveWriter", "Member", "open_writer"]

_BLOCK = 512
_RECORD = 10240
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive. `content`: its bytes, or a blob that is transferred later."""

    name: str
    content: bytes | Descriptor
    offset: int = 0

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.size


def _with_offsets(members: Sequence[Member]) -> tuple[list[Member], int]:
    """The members with the offsets of their content, and the size of the archive, in bytes."""
    placed, position = [], 0
    for member in members:
        offset = position + len(_header(member))
        placed.append(Member(member.name, member.content, offset))
        position = offset + _padded(member.size, _BLOCK)
    return placed, _padded(position + 2 * _BLOCK, _RECORD)


class ArchiveWriter:
    """An archive that is being written under another name, next to where it will be."""

    def __init__(self, file: BinaryIO, members: Sequence[Member], *, began: bool) -> None:
        self._descriptor, self._members, self._began = file.fileno(), members, began

    @property
    def blobs(self) -> list[Member]:
        """The members that are still to be transferred, largest first."""
        waiting = [one for one in self._members if not isinstance(one.content, bytes)]
        return sorted(waiting, key=lambda one: -one.size)

    def write_small(self) -> None:
        """Write all headers, and what is in memory already."""
        for member in self._members:
            header = _header(member)
            self._write(header, member.offset - len(header))
            if isinstance(member.content, bytes):
                self._write(member.content, member.offset)

    def has(self, member: Member) -> bool:
        """True if an earlier run wrote the bytes of a blob; they are read and compared."""
        if not self._began or isinstance(member.content, bytes):
            return False
        hasher, position, end = hashlib.sha256(), member.offset, member.offset + member.size
        while position < end:
            piece = os.pread(self._descriptor, min(_PIECE, end - position), position)
            if not piece:
                return False
            hasher.update(piece)
            position += len(piece)
        return f"sha256:{hasher.hexdigest()}" == member.content.digest

    def write(self, member: Member, chunks: Iterable[bytes]) -> None:
        """Write the bytes of a blob, which are checked already. Thread-safe."""
        position = member.offset
        for piece in chunks:
            self._write(piece, position)
            position += len(piece)

    def _write(self, data: bytes, position: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, position)
            view, position = view[written:], position + written


@contextmanager
def open_writer(path: Path, members: Sequence[Member]) -> Iterator[ArchiveWriter]:
    """A writer; at the end of the block the archive is complete and has its name.

    What a broken run leaves, `.NAME.partial`, is where the next one goes on.

    Raises:
        ImageError: another process is writing the same archive.
        SystemRefused: the file cannot be written there.
    """
    placed, total = _with_offsets(members)
    partial = path.with_name(f".{path.name}.partial")
    with _claimed(path, partial) as file, _full_disks(partial):
        began = os.fstat(file.fileno()).st_size == total
        if not began:
            file.truncate(0)
            file.truncate(total)
        yield ArchiveWriter(file, placed, began=began)
        _clear_gaps(file, placed, total)
        os.fsync(file.fileno())
        partial.replace(path)


@contextmanager
def _full_disks(partial: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if not is_full(exc):
            raise
        raise SystemRefused(
            f"cannot write {partial}: {exc.strerror}; free some space and run it again, which goes "
            "on from there, or remove this file"
        ) from exc


def _claimed(path: Path, partial: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        descriptor = claim(partial, create=True)
    except OSError as exc:
        raise SystemRefused(f"cannot write {path}: {exc.strerror}; correct its folder") from exc
    if descriptor is None:
        raise ImageError(f"another process is writing {path}; wait until it ends")
    return open(descriptor, "r+b")  # noqa: PTH123  a descriptor is no path


def _clear_gaps(file: BinaryIO, members: Sequence[Member], total: int) -> None:
    """Zeros between and behind the members, whatever an earlier run had there."""
    for member in members:
        end = member.offset + member.size
        os.pwrite(file.fileno(), bytes(_padded(end, _BLOCK) - end), end)
    end = max((_padded(one.offset + one.size, _BLOCK) for one in members), default=0)
    os.pwrite(file.fileno(), bytes(total - end), end)


def _header(member: Member) -> bytes:
    """Owner, time and mode are the same for all, so that the same images give the same bytes."""
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.size, 0o644
    if member.name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
