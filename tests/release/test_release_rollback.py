"""An old release under a new name, and images that are made to wear the verifier out."""

import pytest

from enginecrate.errors import ArchiveUnsafe, ReferenceInvalid, ReleaseInvalid
from enginecrate.image.formats.oci import INDEX, ImageIndex, encode
from enginecrate.image.recipe.tags import release_tag
from enginecrate.image.transports.layout import Layout
from enginecrate.release import tag_check as naming_module
from enginecrate.release.content import files as whole_image
from enginecrate.release.content.files import Contents, read_whole_image
from enginecrate.release.content.image import open_image
from enginecrate.release.create.release import create_release
from enginecrate.release.signatures.signer import sign_image
from enginecrate.release.tag_check import begins_with_version
from enginecrate.stacks.catalog import load_stacks
from enginecrate.values import Digest
from layered_images import Item, hardlink, symlink
from tiny_release import (
    KEY,
    REPOSITORY,
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


def name_it(release, tag: str) -> None:
    data = release.transport.read_manifest(Digest(release.image.digest))
    release.transport.write_manifest(data, release.image.media_type, [tag])


@pytest.mark.parametrize(
    "tag",
    ["v1.3.0-ort-cpu", "v1.3.0", "v1.3-ort-cpu", "v1.3", "v1.2.1_x", "v1.3.0.1", "v1.20",
     "1.3.0-ort-cpu", "V1.3.0-ort-cpu", "v1.2.0.1", "v1.2-trt1016-cuda130", "v1.2.0-ort-cpu-sm89",
     "v1.2-ort-cpu-sm89", "1.2.0-ort-cuda130"],
)  # fmt: skip
def test_a_tag_that_promises_something_else(release, tag):
    name_it(release, tag)
    found = faults(verify(release.transport, tag))
    assert f"the tag {tag} promises something else: it names an image of" in found["release"]
    assert f"whose tags are {TAG}; use one of these, or the digest" in found["release"]


@pytest.mark.parametrize(
    "tag",
    [TAG, "stable", "2026.11.23", "20261123", "2026-11-23", "latest_x", "1.2.0-ort-cpu", "v1.2.0",
     "v1.2", "v1.2.0-mirror", "1.2.0", "v2", "v100-prod", "24.04", "535.104-driver", "12.4-cuda"],
)  # fmt: skip
def test_other_names_of_the_same_release(release, tag):
    name_it(release, tag)
    assert not faults(verify(release.transport, tag))


def test_aliases_are_those_of_their_own_image(tmp_path):
    transport = Layout(tmp_path, create=True)
    cpu, gpu = TAG, "v1.2.0-trt1016-cuda130"
    aliases = ("v1.2", "v1.2-ort-cpu", "v1.2.0")
    first = add_image(transport, cpu)
    for tag in (*aliases, "stable"):
        transport.write_manifest(
            transport.read_manifest(Digest(first.digest)), first.media_type, [tag]
        )
    other = add_image(transport, gpu, layers=[base_files(), app_files(), plan_files(b"another")])
    created = create_release(
        transport, [release_image(transport, tag) for tag in (cpu, gpu)], [KEY]
    )
    assert [one.aliases for one in created.release.images] == [aliases, ()]
    for tag in (cpu, gpu, *aliases, "stable"):
        assert not faults(verify(transport, tag)), tag
    data = transport.read_manifest(Digest(other.digest))
    transport.write_manifest(data, other.media_type, ["v1.2.0"])
    assert (
        f"the tag v1.2.0 was moved: it names {other.digest}, and the release lists {first.digest}"
        in faults(verify(transport, "v1.2.0"))["release"]
    )


def test_versions_that_are_years_are_no_dates():
    assert begins_with_version("2025.1.0-ort-cpu", "2026.1.0")
    assert not begins_with_version("2025.1.0-ort-cpu", "1.2.0")
    assert begins_with_version("v2025.1.0", "1.2.0")


@pytest.mark.parametrize(
    ("tag", "good"),
    [("v1.2.0-rc.1", True), ("1.2.0-rc.1", True), ("v1.2.0-rc.1_mirror", True), ("v1.2.0", False),
     ("v1.2", False), ("v1.2.0-rc.10", False), ("v1.2.0-ort-cpu", False)],
)  # fmt: skip
def test_tags_of_a_pre_release(tmp_path, tag, good):
    release = make_release(tmp_path, version="1.2.0-rc.1", tag="v1.2.0-rc.1-ort-cpu")
    name_it(release, tag)
    assert ("release" not in faults(verify(release.transport, tag))) == good


def test_every_stack_has_the_form_that_tags_are_searched_for():
    for name in load_stacks():
        assert naming_module._STACK.match(f"-{name}"), name


def test_a_final_tag_on_a_pre_release(tmp_path):
    transport = Layout(tmp_path, create=True)
    add_image(transport, "v1.2.0-ort-cpu", version="1.2.0-rc.1")
    assert "no release manifest v1.2.0-rc.1-release" in faults(verify(transport))["release"]


def test_no_version_has_no_release():
    with pytest.raises(ReferenceInvalid, match="no version"):
        release_tag("")


def test_lists_of_packages_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_image, "MAX_KEPT_IN_ALL", 1000)
    transport = Layout(tmp_path, create=True)

    def read(*layers: list[Item]) -> Contents:
        (platform,) = open_image(transport, add_image(transport, layers=layers)).platforms
        return read_whole_image(transport, platform.manifest).contents

    one = [Item("lib/a.dist-info/METADATA", b"x" * 600)]
    assert read(one).kept == {"lib/a.dist-info/METADATA": b"x" * 600}
    with pytest.raises(ArchiveUnsafe, match="more than 1,000 bytes"):
        read(one, one)


@pytest.mark.parametrize("wrong", ["a/loop/x", "hard"])
def test_layers_that_cannot_be_merged_are_a_fault(tmp_path, wrong):
    """Each layer is what its digest says, and no container would see them as they are meant."""
    transport = Layout(tmp_path, create=True)
    loop = [symlink("a/loop", "loop"), Item("a/loop/x")]
    items = [hardlink("hard", "nothing")] if wrong == "hard" else loop
    image = add_image(transport, layers=[base_files(), app_files(), plan_files(), items])
    sign_image(transport, image, [KEY], REPOSITORY)
    report = verify(transport)
    assert "linux/amd64: layer 4" in faults(report)["blobs"]
    with pytest.raises(ReleaseInvalid, match="is damaged: linux/amd64: layer 4"):
        create_release(transport, [release_image(transport)], [KEY])


@pytest.mark.parametrize("twice", [False, True])
def test_an_index_of_very_many_platforms(tmp_path, twice):
    transport = Layout(tmp_path, create=True)
    one = add_image(transport, "")
    entries = [one] * 100 if twice else [add_image(transport, "", app=f"a{i}") for i in range(65)]
    transport.write_manifest(encode(ImageIndex(manifests=tuple(entries))), INDEX, [TAG])
    if twice:
        assert len(open_image(transport, transport.resolve(TAG)).platforms) == 1
    else:
        assert "lists 65 platforms, and at most 64" in faults(verify(transport))["blobs"]
