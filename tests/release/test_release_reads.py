"""A verification reads each document once, however many checks look at it."""

from collections import Counter
from collections.abc import Iterator

import pytest

from enginecrate.errors import BlobCorrupt
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.transports.layout import Layout
from enginecrate.release.content import source_cache
from enginecrate.release.content.source_cache import SourceCache
from enginecrate.values import Digest
from tiny_release import faults, make_release, verify


class CountingSource:
    """A layout that counts what others ask it for."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.asked: Counter[tuple[str, ...]] = Counter()

    @property
    def name(self) -> str:
        return self.layout.name

    def resolve(self, tag_or_digest: str) -> Descriptor:
        self.asked["resolve", str(tag_or_digest)] += 1
        return self.layout.resolve(tag_or_digest)

    def read_manifest(self, digest: Digest) -> bytes:
        self.asked["manifest", str(digest)] += 1
        return self.layout.read_manifest(digest)

    def has_blob(self, digest: Digest) -> bool:
        self.asked["has", str(digest)] += 1
        return self.layout.has_blob(digest)

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        self.asked["blob", descriptor.digest] += 1
        return self.layout.read_blob(descriptor)

    def tags(self):
        self.asked["tags",] += 1
        return self.layout.tags()

    def referrers(self, subject: Digest, artifact_type: str = ""):
        self.asked["referrers", str(subject)] += 1
        return self.layout.referrers(subject, artifact_type)


@pytest.mark.parametrize("index", [False, True], ids=["one platform", "two platforms"])
def test_each_document_is_read_once(tmp_path, index):
    source = CountingSource(make_release(tmp_path / "layout", index=index).transport)
    assert not faults(verify(source))
    kinds = Counter(what[0] for what in source.asked)
    assert kinds["manifest"] > 10
    assert kinds["blob"] > 15
    assert {what: count for what, count in source.asked.items() if count > 1} == {}


def test_nothing_is_kept_beyond_the_limit(pristine, monkeypatch):
    monkeypatch.setattr(source_cache, "_MAX_TOTAL", 1000)
    counted = CountingSource(pristine.transport)
    assert not faults(verify(counted))
    assert max(counted.asked.values()) > 1


def test_what_is_damaged_is_not_kept(release):
    """It is read again, and kept once it is sound; a wrong size is another blob."""
    config = release.listed.platforms[0].config
    counted = CountingSource(release.transport)
    cache = SourceCache(counted)
    path = release.blob(config)
    sound = path.read_bytes()
    descriptor = Descriptor(media_type="", digest=config, size=len(sound))
    path.write_bytes(b"damaged")
    with pytest.raises(BlobCorrupt):
        list(cache.read_blob(descriptor))
    path.write_bytes(sound)
    assert b"".join(cache.read_blob(descriptor)) == sound
    path.write_bytes(b"damaged")
    assert b"".join(cache.read_blob(descriptor)) == sound
    wrong = Descriptor(media_type="", digest=config, size=len(sound) - 1)
    with pytest.raises(BlobCorrupt):
        list(cache.read_blob(wrong))
