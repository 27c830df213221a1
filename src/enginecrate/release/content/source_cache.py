"""An image source of which each document is read once: verification looks at the same one often.

Manifests, configurations, signatures, SBOMs and statements are small and stay in memory; layers
pass through. Tags and lists of what is attached are asked for once, too, so that all checks of one
verification see the same state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.transports.base import ImageSource
from enginecrate.values import Digest

__all__ = ["SourceCache"]

_MAX_DOCUMENT = 8 << 20
"""Larger blobs are not kept: they are layers, as a rule."""
_MAX_TOTAL = 64 << 20
"""Limit on the total size of what is kept; beyond it everything is read from the source again."""


class SourceCache:
    """An `ImageSource` in front of another one. What raised an error is asked for again."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._left = _MAX_TOTAL
        self._descriptors: dict[str, Descriptor] = {}
        self._manifests: dict[Digest, bytes] = {}
        self._blobs: dict[tuple[str, int], bytes] = {}
        self._tags: Sequence[str] | None = None
        self._referrers: dict[tuple[Digest, str], Sequence[Descriptor]] = {}

    @property
    def name(self) -> str:
        """The name of the source."""
        return self._source.name

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """As `ImageSource.resolve`."""
        if tag_or_digest not in self._descriptors:
            self._descriptors[tag_or_digest] = self._source.resolve(tag_or_digest)
        return self._descriptors[tag_or_digest]

    def read_manifest(self, digest: Digest) -> bytes:
        """As `ImageSource.read_manifest`."""
        if (kept := self._manifests.get(digest)) is not None:
            return kept
        data = self._source.read_manifest(digest)
        if self._has_room(len(data)):
            self._manifests[digest] = data
        return data

    def has_blob(self, digest: Digest) -> bool:
        """As `ImageSource.has_blob`."""
        return self._source.has_blob(digest)

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """As `ImageSource.read_blob`; a blob is kept once all of it has proven sound."""
        key = (descriptor.digest, descriptor.size)
        if (kept := self._blobs.get(key)) is not None:
            yield kept
            return
        if descriptor.size > _MAX_DOCUMENT or descriptor.size > self._left:
            yield from self._source.read_blob(descriptor)
            return
        data = b"".join(self._source.read_blob(descriptor))
        if self._has_room(len(data)):
            self._blobs[key] = data
        yield data

    def tags(self) -> Sequence[str]:
        """As `ImageSource.tags`."""
        if self._tags is None:
            self._tags = self._source.tags()
        return self._tags

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """As `ImageSource.referrers`."""
        key = (subject, artifact_type)
        if key not in self._referrers:
            self._referrers[key] = self._source.referrers(subject, artifact_type)
        return self._referrers[key]

    def _has_room(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True
