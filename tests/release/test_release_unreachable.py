"""What could not be looked at is skipped: it is neither a fault nor a proof."""

import errno
from collections.abc import Iterator

import msgspec
import pytest

from enginecrate.errors import RegistryDenied, RegistryUnavailable
from enginecrate.image.formats.oci import Descriptor, ImageManifest, decode, encode
from enginecrate.image.transports.layout import Layout
from enginecrate.release.create.release import create_release
from enginecrate.values import Digest
from tiny_release import KEY, TAG, TinyRelease, add_image, faults, release_image, verify

TROUBLE = [
    RegistryUnavailable("the registry answers 503"),
    RegistryDenied("the registry answers 401"),
    OSError(errno.ENOSPC, "No space left on device"),
]


class Unreachable(Layout):
    """A place that breaks down at some blobs, or after some lists of referrers."""

    broken: tuple[str, ...] = ()
    trouble: Exception = TROUBLE[0]
    lists = 1_000_000

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        if descriptor.digest in self.broken:
            raise self.trouble
        yield from super().read_blob(descriptor)

    def read_manifest(self, digest: Digest) -> bytes:
        if digest in self.broken:
            raise self.trouble
        return super().read_manifest(digest)

    def referrers(self, subject: Digest, artifact_type: str = ""):
        self.lists -= 1
        if self.lists < 0:
            raise self.trouble
        return super().referrers(subject, artifact_type)


class WithoutBlobs(Layout):
    """A layout that cannot say whether a blob is there."""

    def has_blob(self, digest: Digest) -> bool:
        raise TROUBLE[0]


def statuses(report) -> dict[str, str]:
    return {one.name: one.status for one in report.checks}


def passed(report) -> set[str]:
    """Names of which no row was skipped or failed."""
    return {one.name for one in report.checks} - {
        one.name for one in report.checks if one.status != "passed"
    }


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda one: type(one).__name__)
def test_a_layer(pristine: TinyRelease, trouble):
    transport = Unreachable(pristine.transport.folder)
    transport.broken, transport.trouble = pristine.listed.platforms[0].layers[1:2], trouble
    report = verify(transport)
    assert not faults(report)
    assert report.verdict == "skipped"
    found = statuses(report)
    assert {found[name] for name in ("blobs", "sbom", "plans", "boot")} == {"skipped"}
    assert {found[name] for name in ("release", "signatures", "statements")} == {"passed"}
    assert str(trouble) in next(one.detail for one in report.checks if one.name == "blobs")


def test_everything_that_verification_reads(pristine: TinyRelease):
    """Whichever blob it is: nothing fails, and nothing passes as a whole."""
    everything = passed(verify(pristine.transport))
    assert {"release", "signatures", "blobs", "attachments", "statements"} < everything
    for path in (pristine.transport.folder / "blobs/sha256").iterdir():
        transport = Unreachable(pristine.transport.folder)
        transport.broken = (f"sha256:{path.name}",)
        if pristine.image.digest in transport.broken:  # an image that cannot be reached at all
            with pytest.raises(RegistryUnavailable):
                verify(transport)
            continue
        report = verify(transport)
        assert not faults(report), path
        assert report.verdict == "skipped"
        assert passed(report) < everything, path


@pytest.mark.parametrize("lists", range(3))
def test_lists_of_what_is_attached(pristine: TinyRelease, lists):
    transport = Unreachable(pristine.transport.folder)
    transport.lists = lists
    report = verify(transport)
    assert not faults(report)
    assert (statuses(report)["boot"], report.verdict) == ("skipped", "skipped")


def test_what_was_found_before_is_a_fault(release: TinyRelease):
    """A damaged layer, and another one that cannot be reached."""
    layers = release.listed.platforms[0].layers
    path = release.blob(layers[0])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    transport = Unreachable(release.transport.folder)
    transport.broken = (layers[2],)
    report = verify(transport)
    assert "layer 1 of linux/amd64" in faults(report)["blobs"]
    assert "503" in [one.detail for one in report.checks if one.name == "blobs"][-1]


def test_the_rules_of_hardening(tmp_path):
    """The audit alone asks whether a layer that belongs elsewhere is here."""
    transport = Layout(tmp_path / "layout", create=True)
    image = add_image(transport)
    manifest = decode(transport.read_manifest(Digest(image.digest)), ImageManifest, "image")
    layers = [
        msgspec.structs.replace(
            layer, media_type=layer.media_type.replace("layer.", "layer.nondistributable.")
        )
        for layer in manifest.layers
    ]
    foreign = msgspec.structs.replace(manifest, layers=tuple(layers))
    transport.write_manifest(encode(foreign), image.media_type, [TAG])
    create_release(transport, [release_image(transport)], [KEY])
    assert statuses(verify(transport))["hardening"] == "failed"
    report = verify(WithoutBlobs(transport.folder))
    assert not faults(report)
    assert statuses(report)["hardening"] == "skipped"
