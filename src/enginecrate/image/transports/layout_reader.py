"""A reader of OCI image layouts, whose files are in a folder or in a `.tar` file.

Source: OCI Image Format Specification 1.1, image-layout.md.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from enginecrate.errors import BlobCorrupt, ImageInvalid, ImageNotFound
from enginecrate.image.formats.oci import REF_NAME, Descriptor, ImageIndex, digest_of
from enginecrate.image.transports.documents import kind_of, media_type_of, parse, subject_of
from enginecrate.values import Digest

__all__ = ["LayoutReader"]


class LayoutReader(ABC):
    """The reading half of `ImageSource` for layouts; a subclass knows where index and blobs are."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def index(self) -> ImageIndex:
        """Everything that has a tag, and every manifest that nothing else lists."""

    @abstractmethod
    def _bytes_of(self, digest: Digest) -> bytes:
        """The bytes of a small blob, unchecked. Raises `ImageNotFound`."""

    def resolve(self, tag_or_digest: str) -> Descriptor:
        """As `ImageSource.resolve`. Raises `ImageInvalid`: the tag stands at two images."""
        with contextlib.suppress(ValueError):
            return self._by_digest(Digest(tag_or_digest))
        named = [o for o in self.index().manifests if o.annotations.get(REF_NAME) == tag_or_digest]
        if len({one.digest for one in named}) > 1:
            raise ImageInvalid(
                f"{self.name} has the tag {tag_or_digest!r} twice, for "
                f"{' and '.join(sorted({one.digest for one in named}))}: which one is meant? "
                "Name it by its digest, or get the images again from their source"
            )
        if named:
            digest_of(named[0])
            return _bare(named[0])
        known = ", ".join(self.tags()) or "none"
        raise ImageNotFound(f"{self.name} has no image {tag_or_digest!r}; its tags: {known}")

    def _by_digest(self, digest: Digest) -> Descriptor:
        for entry in self.index().manifests:
            if entry.digest == digest:
                return _bare(entry)
        data = self.read_manifest(digest)
        media_type = media_type_of(data, f"{digest} in {self.name}")
        return Descriptor(media_type=media_type, digest=str(digest), size=len(data))

    def read_manifest(self, digest: Digest) -> bytes:
        data = self._bytes_of(digest)
        if Digest.of(data) != digest:
            raise BlobCorrupt(
                f"the bytes of {digest} in {self.name} are damaged; build or copy the image again"
            )
        return data

    def tags(self) -> Sequence[str]:
        names = (one.annotations.get(REF_NAME) for one in self.index().manifests)
        return [name for name in names if name]

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        entries = {}
        for candidate in self._candidates(subject):
            entry = self._referrer(candidate, subject)
            if entry is not None and artifact_type in ("", entry.artifact_type):
                entries[entry.digest] = entry
        return [entries[digest] for digest in sorted(entries)]

    def _candidates(self, subject: Digest) -> list[Descriptor]:
        """The listed manifests, here and in a fallback tag that was copied from a registry."""
        listed = {one.digest: one for one in self.index().manifests}
        fallback = f"sha256-{subject.hex}"
        for entry in list(listed.values()):
            if entry.annotations.get(REF_NAME) == fallback:
                data = self.read_manifest(digest_of(entry))
                document = parse(data, entry.media_type, f"{fallback} in {self.name}")
                if isinstance(document, ImageIndex):
                    listed.update((inner.digest, inner) for inner in document.manifests)
        return list(listed.values())

    def _referrer(self, candidate: Descriptor, subject: Digest) -> Descriptor | None:
        """Its entry in the list of referrers, when it is attached to `subject`."""
        try:
            data = self.read_manifest(digest_of(candidate))
        except ImageNotFound:
            return None
        where = f"{candidate.digest} in {self.name}"
        media_type = media_type_of(data, where, candidate.media_type)
        document = parse(data, media_type, where)
        if subject_of(document) != subject:
            return None
        return Descriptor(
            media_type=media_type,
            digest=candidate.digest,
            size=len(data),
            artifact_type=kind_of(document),
            annotations=document.annotations,
        )


def _bare(descriptor: Descriptor) -> Descriptor:
    kept = {k: v for k, v in descriptor.annotations.items() if k != REF_NAME}
    return msgspec.structs.replace(descriptor, annotations=kept)
