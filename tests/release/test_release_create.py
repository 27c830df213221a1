"""Making a release: the same gives the same, whatever comes between."""

import json

import pytest

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_target, open_transport
from enginecrate.release.content.image import find_release
from enginecrate.release.create.release import create_release, find_images
from enginecrate.release.manifest import read_release
from enginecrate.values import Digest
from layered_images import Item
from modern_registry import modern_registry
from tiny_release import (
    KEY,
    OTHER_KEY,
    TAG,
    add_image,
    app_files,
    base_files,
    faults,
    make_release,
    plan_files,
    release_image,
    verify,
)


def test_the_same_images_give_the_same_release_manifest(tmp_path):
    one = make_release(tmp_path / "one", [KEY])
    other = make_release(tmp_path / "other", [OTHER_KEY])
    assert one.created.descriptor == other.created.descriptor
    assert one.created.release == other.created.release
    data = one.transport.read_manifest(Digest(one.created.descriptor.digest))
    assert data == other.transport.read_manifest(Digest(other.created.descriptor.digest))


@pytest.mark.parametrize("golden", [b"{}", b'{"format": 1, "samples": []}', b"not JSON"])
def test_a_readme_is_no_golden_sample(tmp_path, golden):
    transport = Layout(tmp_path / "layout", create=True)
    layers = [base_files(), app_files(golden=golden), plan_files()]
    add_image(transport, layers=layers)
    release = create_release(transport, [release_image(transport)], [KEY]).release
    assert release.golden == ()
    assert release.is_unproven


def test_what_it_lists(pristine):
    release = pristine.created.release
    assert (release.app, release.version, release.tag) == ("colours", "1.2.0", "v1.2.0-release")
    assert release.created == "2026-01-01T00:00:00Z"
    assert [one.path for one in release.golden] == ["golden/golden.json"]
    assert not release.is_unproven
    (image,) = release.images
    assert (image.tag, image.stack, image.digest) == (TAG, "ort-cpu", pristine.image.digest)
    (platform,) = image.platforms
    assert (platform.platform, len(platform.layers)) == ("linux/amd64", 3)
    (plan,) = release.images[0].platforms[0].plans
    assert (plan.device, plan.precision, plan.digest) == ("cpu", "fp32", Digest.of(b"a plan"))
    kinds = [one.kind for one in image.attachments]
    assert kinds == ["evidence-accuracy", "provenance", "sbom-cyclonedx", "sbom-spdx"]
    for one in image.attachments:
        assert pristine.blob(one.manifest).is_file()
        assert Digest.of_file(pristine.blob(one.content)) == one.content
    data = pristine.transport.read_manifest(Digest(pristine.created.descriptor.digest))
    layer = json.loads(data)["layers"][0]
    content = pristine.blob(layer["digest"]).read_bytes()
    assert content == canonical(content)


def test_making_it_again_adds_nothing(release):
    before = sorted((release.transport.folder / "blobs/sha256").iterdir())
    again = create_release(release.transport, [release_image(release.transport)], [KEY])
    assert again.signatures == 0
    assert not again.replaced
    assert sorted((release.transport.folder / "blobs/sha256").iterdir()) == before


def canonical(data: bytes) -> bytes:
    return json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


class Interrupted(Exception):
    pass


class BreaksDown(Layout):
    """A layout that stops working after some writes, like a process that is killed."""

    left = 0

    def write_manifest(self, *arguments, **named):
        if self.left == 0:
            raise Interrupted
        self.left -= 1
        return super().write_manifest(*arguments, **named)


@pytest.mark.parametrize("writes", [0, 1, 3, 5, 6, 8, 9])
def test_an_interrupted_run_is_finished_by_the_next(tmp_path, writes):
    folder = tmp_path / "layout"
    add_image(Layout(folder, create=True))
    broken = BreaksDown(folder)
    broken.left = writes
    with pytest.raises(Interrupted):
        create_release(broken, [release_image(broken)], [KEY])
    assert verify(Layout(folder)).verdict == "failed"
    transport = Layout(folder)
    created = create_release(transport, [release_image(transport)], [KEY])
    assert not faults(verify(transport))
    assert created.descriptor.digest == transport.resolve("v1.2.0-release").digest


def test_several_images_of_one_version(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    tags = ["v1.2.0-ort-cpu", "v1.2.0-trtrtx17-cuda130"]
    add_image(transport, tags[0])
    add_image(transport, tags[1], layers=[base_files(), app_files(), plan_files(b"another")])
    add_image(transport, "v1.2.0-rc.1-ort-cpu", version="1.2.0-rc.1")
    add_image(transport, "v1.3.0-ort-cpu", version="1.3.0")
    assert list(find_images(transport, "1.2.0")) == tags
    created = create_release(transport, [release_image(transport, tag) for tag in tags], [KEY])
    assert [one.tag for one in created.release.images] == tags
    for tag in tags:
        assert not faults(verify(transport, tag))
    for name in (*tags, "v1.2.0-release", created.descriptor.digest):
        assert find_release(transport, name)[1] == created.release
    with pytest.raises(ReleaseInvalid, match="no image of version 9"):
        find_images(transport, "9.0.0")


def test_a_released_pre_release_in_the_same_layout(tmp_path):
    """`v1.2.0-rc.1-release` begins like an image of 1.2.0, and is none."""
    transport = Layout(tmp_path / "layout", create=True)
    early = "v1.2.0-rc.1-ort-cpu"
    add_image(transport, early, version="1.2.0-rc.1")
    create_release(transport, [release_image(transport, early)], [KEY])
    add_image(transport)
    assert list(find_images(transport, "1.2.0")) == [TAG]
    create_release(transport, [release_image(transport)], [KEY])
    assert not faults(verify(transport))


def test_another_image_than_the_release_lists_has_no_release(release):
    """Who can write tags puts a release manifest of other images where this one's should be."""
    other = add_image(release.transport, "v9.9.9-x", layers=[base_files(), app_files()])
    with pytest.raises(ReleaseInvalid, match="does not list the image"):
        find_release(release.transport, other.digest)


def test_images_of_different_manifests_are_no_release(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    add_image(transport, "v1.2.0-a")
    files = [*app_files()[1:], Item("opt/enginecrate/app/enginecrate.toml",
                                    app_files()[0].content + b"\n# changed\n")]  # fmt: skip
    add_image(transport, "v1.2.0-b", layers=[base_files(), files])
    with pytest.raises(ReleaseInvalid, match="different manifests"):
        create_release(
            transport, [release_image(transport, tag) for tag in ("v1.2.0-a", "v1.2.0-b")], [KEY]
        )


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([base_files()], "holds no app"),
        ([app_files(), [*plan_files()[1:], Item("opt/enginecrate/plans/abc/plan.onnx", b"x")]],
         "is not the plan that"),
        ([app_files(), [Item("opt/enginecrate/plans/abc/plan.json", b"{}")]], "does not describe"),
        ([app_files(), [Item("opt/enginecrate/app/.wh.enginecrate.toml")]], "holds no app"),
    ],
    ids=["no app", "other plan", "no sidecar", "whiteout"],
)  # fmt: skip
def test_images_that_are_refused(tmp_path, layers, words):
    transport = Layout(tmp_path / "layout", create=True)
    add_image(transport, layers=layers)
    with pytest.raises(ReleaseInvalid, match=words):
        create_release(transport, [release_image(transport)], [KEY])
    assert "v1.2.0-release" not in transport.tags()


def test_a_damaged_image_is_not_released(tmp_path):
    made = make_release(tmp_path / "layout", [])
    path = made.blob(made.listed.platforms[0].layers[0])
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ReleaseInvalid, match="is damaged"):
        create_release(made.transport, [release_image(made.transport)], [KEY])


def test_it_goes_through_a_real_registry(registry, pristine):
    """Pushed with all that is attached, and verified there; a removed document is noticed."""
    target, _ = open_target(f"{registry.address}/isv/colours-signed")
    copy_image(pristine.transport, TAG, target, [TAG])
    copy_image(pristine.transport, "v1.2.0-release", target, ["v1.2.0-release"])
    transport, name = open_transport(f"{registry.address}/isv/colours-signed:{TAG}")
    report = verify(transport, name)
    assert not faults(report)
    assert report.digest == pristine.image.digest
    by_digest, name = open_transport(f"{registry.address}/isv/colours-signed@{report.digest}")
    assert not faults(verify(by_digest, name))
    assert read_release(transport, "v1.2.0-release")[1] == pristine.created.release


def test_signing_in_a_real_registry(registry, pristine):
    address = f"{registry.address}/isv/colours-unsigned"
    target, _ = open_target(address)
    copy_image(pristine.transport, TAG, target, [TAG], referrers=False)
    assert "signatures" in faults(verify(target))
    create_release(target, [release_image(target)], [KEY, OTHER_KEY], reference=address)
    transport, name = open_transport(f"{address}:{TAG}")
    assert not faults(verify(transport, name))


def test_a_release_where_tags_are_immutable(pristine):
    """Made, signed by two keys and pushed: each tag is written once, and again nothing is."""
    with modern_registry("harbor-immutable") as registry:
        address = f"{registry.address}/isv/colours"
        target, _ = open_target(address)
        copy_image(pristine.transport, TAG, target, [TAG], referrers=False)
        create_release(target, [release_image(target)], [KEY, OTHER_KEY], reference=address)
        transport, name = open_transport(f"{address}:{TAG}")
        assert not faults(verify(transport, name))
        assert len(registry.written) == len(set(registry.written))
        before = list(registry.written)
        create_release(target, [release_image(target)], [KEY, OTHER_KEY], reference=address)
        assert registry.written == before
    with modern_registry("ecr-immutable") as registry:
        target, _ = open_target(f"{registry.address}/isv/pushed")
        for _ in range(2):
            for tag in (TAG, "v1.2.0-release"):
                copy_image(pristine.transport, tag, target, [tag])
        transport, name = open_transport(f"{registry.address}/isv/pushed:{TAG}")
        assert not faults(verify(transport, name))
        assert len(registry.written) == len(set(registry.written))
