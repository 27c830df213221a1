"""An OCI image layout on disk: `oci-layout`, `index.json`, `blobs/sha256/<hex>`.

Source: OCI Image Format Specification 1.1, image-layout.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from enginecrate.errors import BlobCorrupt, ImageInvalid, ImageNotFound
from enginecrate.image.oci import (
    DOCKER_INDEX,
    INDEX,
    REF_NAME,
    Descriptor,
    ImageIndex,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.values import Digest

__all__ = ["Layout", "checked"]

_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE = 1 << 20


class Layout:
    """A `Place` in a folder. Files appear whole or not at all; several processes may write."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Raises `ImageNotFound`: the folder is not a layout, and `create` is false."""
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._index = folder / "index.json"
        if create:
            self._blobs.mkdir(parents=True, exist_ok=True)
            if not (folder / "oci-layout").exists():
                self._write_file(folder / "oci-layout", _VERSION)
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
        return decode(data, ImageIndex, str(self._index))

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob lies, or would lie."""
        return self._blobs / digest.hex

    def resolve(self, tag_or_digest: str) -> Descriptor:
        listed = self.index().manifests
        for one in listed:
            if tag_or_digest in (one.annotations.get(REF_NAME), one.digest):
                return _bare(one)
        with contextlib.suppress(ValueError):
            digest = Digest(tag_or_digest)
            data = self.read_manifest(digest)
            media_type = decode(data, ImageIndex, tag_or_digest).media_type
            return Descriptor(media_type=media_type, digest=digest, size=len(data))
        known = ", ".join(self.tags()) or "none"
        raise ImageNotFound(f"{self.name} has no image {tag_or_digest!r}; its tags: {known}")

    def read_manifest(self, digest: Digest) -> bytes:
        data = self._open(digest).read_bytes()
        if Digest.of(data) != digest:
            raise BlobCorrupt(self._corrupt(digest))
        return data

    def has_blob(self, digest: Digest) -> bool:
        return self.blob_path(digest).is_file()

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        path = self._open(digest_of(descriptor))
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(_PIECE), b"")
            yield from checked(pieces, descriptor, f"{path}")

    def write_blob(self, descriptor: Descriptor, chunks: Iterator[bytes]) -> None:
        digest = digest_of(descriptor)
        with self._partial(self.blob_path(digest)) as partial, partial.open("wb") as file:
            for piece in checked(chunks, descriptor, self.name):
                file.write(piece)

    def add_blob(self, chunks: Iterator[bytes], media_type: str) -> Descriptor:
        """Store a blob whose digest is not known yet."""
        hasher, size = hashlib.sha256(), 0
        partial = self._blobs / f".{secrets.token_hex(8)}.partial"
        try:
            with partial.open("xb") as file:
                for piece in chunks:
                    file.write(piece)
                    hasher.update(piece)
                    size += len(piece)
                file.flush()
                os.fsync(file.fileno())
            digest = Digest(f"sha256:{hasher.hexdigest()}")
            partial.replace(self.blob_path(digest))
        finally:
            partial.unlink(missing_ok=True)
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def write_manifest(self, data: bytes, media_type: str, tags: Sequence[str] = ()) -> Descriptor:
        descriptor = self.add_blob(iter((data,)), media_type)
        with self._locked_index() as index:
            others = [one for one in index.manifests if one.annotations.get(REF_NAME) not in tags]
            if tags:
                others = [
                    o for o in others if o.digest != descriptor.digest or REF_NAME in o.annotations
                ]
                fresh = [
                    msgspec.structs.replace(descriptor, annotations={REF_NAME: tag}) for tag in tags
                ]
            else:
                listed = any(one.digest == descriptor.digest for one in others)
                fresh = [] if listed else [descriptor]
            everything = sorted(
                [*others, *fresh], key=lambda o: (o.annotations.get(REF_NAME, ""), o.digest)
            )
            self._write_file(self._index, encode(ImageIndex(manifests=tuple(everything))))
        return descriptor

    def tags(self) -> Sequence[str]:
        names = (one.annotations.get(REF_NAME) for one in self.index().manifests)
        return [name for name in names if name]

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        found: dict[str, Descriptor] = {}
        for one in self.index().manifests:
            if one.media_type in (INDEX, DOCKER_INDEX) or one.digest in found:
                continue
            manifest = decode(self.read_manifest(digest_of(one)), ImageManifest, one.digest)
            kind = manifest.artifact_type or manifest.config.media_type
            if manifest.subject is None or manifest.subject.digest != subject:
                continue
            if artifact_type in ("", kind):
                found[one.digest] = Descriptor(
                    media_type=one.media_type,
                    digest=one.digest,
                    size=one.size,
                    artifact_type=kind,
                    annotations=manifest.annotations,
                )
        return [found[digest] for digest in sorted(found)]

    def _open(self, digest: Digest) -> Path:
        path = self.blob_path(digest)
        if not path.is_file():
            raise ImageNotFound(f"{self.name} has no blob {digest}; build or copy the image again")
        return path

    def _corrupt(self, digest: Digest) -> str:
        return f"the bytes of {digest} in {self.name} are damaged; build or copy the image again"

    @contextmanager
    def _locked_index(self) -> Iterator[ImageIndex]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.index()

    @contextmanager
    def _partial(self, path: Path) -> Iterator[Path]:
        partial = path.parent / f".{secrets.token_hex(8)}.partial"
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _write_file(self, path: Path, data: bytes) -> None:
        with self._partial(path) as partial:
            partial.write_bytes(data)


def checked(chunks: Iterator[bytes], descriptor: Descriptor, where: str) -> Iterator[bytes]:
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


def _bare(descriptor: Descriptor) -> Descriptor:
    kept = {k: v for k, v in descriptor.annotations.items() if k != REF_NAME}
    return msgspec.structs.replace(descriptor, annotations=kept)
