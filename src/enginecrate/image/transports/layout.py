"""An OCI image layout on disk: `oci-layout`, `index.json`, `blobs/sha256/<hex>`.

Its tags, and the attachments of the tagged images, keep blobs in use; `prune` removes the others.
Source: OCI Image Format Specification 1.1, image-layout.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from enginecrate.errors import (
    ImageInvalid,
    ImageNotFound,
    InputUnreadable,
    SystemRefused,
    TagTaken,
)
from enginecrate.files.atomic import ScratchFile, scratch_file
from enginecrate.files.disk_errors import is_full
from enginecrate.files.locks import file_lock
from enginecrate.image.formats.oci import (
    REF_NAME,
    Descriptor,
    ImageIndex,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.transports.base import checked
from enginecrate.image.transports.documents import (
    MAX_MANIFEST,
    blobs_of,
    children_of,
    media_type_of,
    parse,
    subject_of,
)
from enginecrate.image.transports.layout_reader import LayoutReader
from enginecrate.image.transports.tags import subject_in_tag
from enginecrate.values import Digest

__all__ = ["Layout"]

_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE = 1 << 20


class Layout(LayoutReader):
    """An `ImageTarget` in a folder. Files appear whole; several processes may write."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Raises `ImageNotFound`: the folder is not a layout, and `create` is false."""
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._index = folder / "index.json"
        if create:
            self._blobs.mkdir(parents=True, exist_ok=True)
            if not (folder / "oci-layout").exists():
                self._write_file(folder / "oci-layout", _VERSION)
            with self._lock():
                if not self._index.exists():
                    self._write_file(self._index, encode(ImageIndex(manifests=())))
        elif not (folder / "oci-layout").is_file():
            raise ImageNotFound(
                f"{folder} is not an OCI layout (there is no oci-layout in it); build an image "
                "with `enginecrate image build`, or name another folder"
            )

    @property
    def name(self) -> str:
        return f"oci:{self.folder}"

    def index(self) -> ImageIndex:
        """Everything that has a tag, and every manifest that nothing else lists."""
        try:
            data = self._index.read_bytes()
        except FileNotFoundError as exc:
            raise ImageInvalid(f"{self._index} is missing; build the image again") from exc
        except OSError as exc:
            raise InputUnreadable(
                f"cannot read {self._index}: {exc.strerror}; check it, or build the image again"
            ) from exc
        return decode(data, ImageIndex, str(self._index))

    def blob_path(self, digest: Digest) -> Path:
        """The path of a blob, which need not be there."""
        return self._blobs / digest.hex

    def has_blob(self, digest: Digest) -> bool:
        path = self.blob_path(digest)
        if not path.is_file():
            return False
        # The caller is about to rely on it: `prune` leaves blobs that were touched lately.
        with contextlib.suppress(OSError):
            os.utime(path)
        return True

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        path = self._path_of(digest_of(descriptor))
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(_PIECE), b"")
            yield from checked(pieces, descriptor, f"{path}")

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        path = self.blob_path(digest_of(descriptor))
        with self._new_file(self._blobs) as new:
            for piece in checked(chunks, descriptor, self.name):
                new.file.write(piece)
            new.keep(path)

    def add_blob(self, chunks: Iterable[bytes], media_type: str) -> Descriptor:
        """Store a blob whose digest is not known yet."""
        hasher, size = hashlib.sha256(), 0
        with self._new_file(self._blobs) as new:
            for piece in chunks:
                new.file.write(piece)
                hasher.update(piece)
                size += len(piece)
            digest = Digest(f"sha256:{hasher.hexdigest()}")
            new.keep(self.blob_path(digest))
        return Descriptor(media_type=media_type, digest=str(digest), size=size)

    def write_manifest(
        self,
        data: bytes,
        media_type: str,
        tags: Sequence[str] = (),
        *,
        immutable: Sequence[str] = (),
    ) -> Descriptor:
        document = parse(data, media_type, f"the manifest for {self.name}")
        digest = Digest.of(data)
        with self._lock():
            listed = self.index().manifests
            self._refuse_moving(listed, digest, immutable)
            descriptor = self.add_blob((data,), media_type)
            inner = {one.digest for one in children_of(document)}
            kept = [one for one in listed if not self._is_superseded(one, digest, tags, inner)]
            fresh = [
                msgspec.structs.replace(descriptor, annotations={REF_NAME: tag}) for tag in tags
            ]
            if not fresh and all(one.digest != digest for one in kept):
                fresh = [descriptor]
            everything = sorted([*kept, *fresh], key=lambda o: (_tag(o), o.digest))
            self._write_file(self._index, encode(ImageIndex(manifests=tuple(everything))))
        return descriptor

    def attaching(self) -> AbstractContextManager[None]:
        """As `ImageTarget.attaching`; `index.json` lists attachments at once."""
        return contextlib.nullcontext()

    def prune(self, *, older_than: float = 3600.0) -> int:
        """Remove entries and blobs that are not in use any more, and the rests of broken writes.

        Args:
            older_than: seconds; younger ones stay, since an image may be being written now.

        Returns:
            Bytes that are free again.

        Raises:
            ImageError: a manifest cannot be read, so its needs are unknown; all stays.
            SystemRefused: the folder cannot be written.
        """
        before = time.time() - older_than
        try:
            with self._lock():
                kept, needed = _in_use(self)
                # A young entry may be half of an image: it stays, with the blobs that it leads to.
                listed = self.index().manifests
                young = [o for o in listed if o not in kept and self._is_young(o, before)]
                names = {digest.hex for digest in needed | _led_to(self, young)}
                remaining = tuple(one for one in listed if one in kept or one in young)
                if remaining != listed:
                    # The index first: an entry without its blob would be a broken image.
                    self._write_file(self._index, encode(ImageIndex(manifests=remaining)))
                others = sorted(self._blobs.iterdir())
                return sum(_remove_old(one, before) for one in others if one.name not in names)
        except OSError as exc:
            raise SystemRefused(
                f"cannot clean up {self.folder}: {exc.strerror}; correct its rights"
            ) from exc

    def _is_young(self, entry: Descriptor, before: float) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self.blob_path(digest_of(entry)).stat().st_mtime > before
        return False

    def _refuse_moving(
        self, listed: Sequence[Descriptor], digest: Digest, immutable: Sequence[str]
    ) -> None:
        for entry in listed:
            if _tag(entry) in immutable and _tag(entry) and entry.digest != digest:
                raise TagTaken(
                    f"{self.name}: the tag {_tag(entry)} names {entry.digest} already, and is not "
                    f"moved to {digest}; choose another version, or say that the tag may move"
                )

    def _is_superseded(
        self, entry: Descriptor, digest: Digest, tags: Sequence[str], inner: set[str]
    ) -> bool:
        """True if an entry of the index goes: its tag moves, or another index lists it now."""
        if _tag(entry):
            return _tag(entry) in tags
        if entry.digest == digest:
            return bool(tags)
        return entry.digest in inner and not self._is_attached(entry)

    def _is_attached(self, entry: Descriptor) -> bool:
        with contextlib.suppress(ImageNotFound):
            data = self.read_manifest(digest_of(entry))
            return bool(subject_of(parse(data, entry.media_type, f"{entry.digest} in {self.name}")))
        return False

    def _path_of(self, digest: Digest) -> Path:
        path = self.blob_path(digest)
        if not path.is_file():
            raise ImageNotFound(f"{self.name} has no blob {digest}; build or copy the image again")
        return path

    def _bytes_of(self, digest: Digest) -> bytes:
        path = self._path_of(digest)
        size = path.stat().st_size
        if size > MAX_MANIFEST:
            raise ImageInvalid(
                f"{digest} in {self.name} has {size} bytes; manifests may have {MAX_MANIFEST}"
            )
        return path.read_bytes()

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self.folder / ".lock", keep=True)

    @contextmanager
    def _new_file(self, folder: Path) -> Iterator[ScratchFile]:
        try:
            with scratch_file(folder) as new:
                yield new
        except OSError as exc:
            if not is_full(exc):
                raise
            raise SystemRefused(
                f"cannot write to {folder}: {exc.strerror}; free some space, or choose another "
                "folder"
            ) from exc

    def _write_file(self, path: Path, data: bytes) -> None:
        with self._new_file(path.parent) as new:
            new.file.write(data)
            new.keep(path)


def _remove_old(path: Path, before: float) -> int:
    """Remove a file that was last written before; its bytes. Other processes may be faster."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_mtime <= before:
            path.unlink()
            return status.st_size
    return 0


def _tag(descriptor: Descriptor) -> str:
    return descriptor.annotations.get(REF_NAME, "")


def _in_use(transport: LayoutReader) -> tuple[list[Descriptor], set[Digest]]:
    """The entries of the index that are in use, and every blob that they lead to.

    Attachments are in use while their subject is: SBOMs and signatures of an image whose tag has
    moved to another one go with it.

    Raises:
        ImageInvalid, BlobCorrupt: a manifest cannot be read, so its needs are unknown.
    """
    listed = transport.index().manifests
    subjects = [_subject(transport, one) for one in listed]
    kept = [not subject for subject in subjects]
    needed = _led_to(transport, (one for one, keep in zip(listed, kept, strict=True) if keep))
    waiting = True
    while waiting:  # attachments may have attachments
        waiting = False
        for number, subject in enumerate(subjects):
            if not kept[number] and subject in needed:
                kept[number] = waiting = True
                needed |= _led_to(transport, [listed[number]])
    return [one for one, keep in zip(listed, kept, strict=True) if keep], needed


def _subject(transport: LayoutReader, entry: Descriptor) -> str:
    """The digest of the manifest that an entry is attached to; empty: of none."""
    tag = entry.annotations.get(REF_NAME, "")
    if tag:
        return subject_in_tag(tag)
    with contextlib.suppress(ImageNotFound):
        data = transport.read_manifest(digest_of(entry))
        return subject_of(parse(data, entry.media_type, f"{entry.digest} in {transport.name}"))
    return ""


def _led_to(transport: LayoutReader, roots: Iterable[Descriptor]) -> set[Digest]:
    """Manifests and blobs that are reached from `roots`; missing manifests lead nowhere."""
    reached: set[Digest] = set()
    waiting = [digest_of(one) for one in roots]
    while waiting:
        digest = waiting.pop()
        if digest in reached:
            continue
        try:
            data = transport.read_manifest(digest)
        except ImageNotFound:
            continue
        reached.add(digest)
        where = f"{digest} in {transport.name}"
        document = parse(data, media_type_of(data, where), where)
        reached |= {digest_of(one) for one in blobs_of(document)}
        waiting += [digest_of(one) for one in children_of(document)]
    return reached
