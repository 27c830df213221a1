"""The interface of transports: a repository of a registry, an OCI layout, a single `.tar` file.

Copying, auditing and verifying know this interface alone. Every transport checks its bytes with
`checked`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from enginecrate.errors import BlobCorrupt
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.values import Digest

__all__ = ["ImageSource", "ImageTarget", "checked", "read_listed"]


class ImageSource(Protocol):
    """A set of blobs and manifests, with tags, that can be read. Reading is thread-safe.

    All bytes are checked: those that do not match digest and size raise `BlobCorrupt` (for streams:
    at their end at the latest). A blob or manifest that is missing raises `ImageNotFound`.
    """

    @property
    def name(self) -> str:
        """For messages: `registry.example.com/isv/app`, `oci:build/image`, `app.tar`."""
        ...

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """The descriptor of the manifest or index that a tag or `sha256:...` names."""
        ...

    def read_manifest(self, digest: Digest) -> bytes:
        """The bytes of a manifest or index."""
        ...

    def has_blob(self, digest: Digest) -> bool: ...

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The bytes of a blob, in pieces."""
        ...

    def tags(self) -> Sequence[str]: ...

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """The manifests attached to one (distribution specification, "Listing Referrers").

        Where the registry has no such API, the fallback tag `sha256-<hex>` is read.
        """
        ...


class ImageTarget(ImageSource, Protocol):
    """An `ImageSource` that can be written, too. Writing of blobs is thread-safe."""

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        """Store a blob; bytes that are not what the descriptor says raise `BlobCorrupt`.

        chunks: when it can be iterated again, a transfer that cannot be resumed starts again.
        """
        ...

    def write_manifest(
        self,
        data: bytes,
        media_type: str,
        tags: Sequence[str] = (),
        *,
        immutable: Sequence[str] = (),
    ) -> Descriptor:
        """Store a manifest or index, under tags as well. Its blobs must be there already.

        When it has a `subject`, it is also listed among the referrers of that. A tag that is in
        `immutable`, too, is never moved: `TagTaken`, when it names another digest.
        """
        ...

    def attaching(self) -> AbstractContextManager[None]:
        """A block in which many manifests with a `subject` are written.

        Lists of referrers that must be kept by hand are written at its end, each one once: some
        registries never overwrite a tag. What is written in it is listed in it already.
        """
        ...


def read_listed(source: ImageSource, descriptor: Descriptor) -> bytes:
    """The bytes of a manifest that an index lists.

    Raises:
        BlobCorrupt: they are damaged, or the list promises another size.
        ImageInvalid: the digest is none.
        ImageNotFound: it is missing.
    """
    data = source.read_manifest(digest_of(descriptor))
    if descriptor.size != len(data):
        raise BlobCorrupt(
            f"{descriptor.digest} in {source.name} has {len(data)} bytes, where the list that "
            f"names it says {descriptor.size}; get the image again from its source"
        )
    return data


def checked(chunks: Iterable[bytes], descriptor: Descriptor, where: str) -> Iterator[bytes]:
    """The same pieces; `BlobCorrupt` at their end, unless digest and size were right.

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
