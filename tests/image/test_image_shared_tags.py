"""Attachments that others put beside an image stay when it is copied there again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Registry
from enginecrate.errors import ImageInvalid, TagTaken
from enginecrate.image.formats.oci import (
    INDEX,
    Descriptor,
    ImageIndex,
    ImageManifest,
    decode,
    encode,
)
from enginecrate.image.transports.copy import copy_image, copy_images
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_export import save
from enginecrate.image.transports.registry import Repository
from enginecrate.image.transports.shared_tags import SIGNATURE, write_shared
from enginecrate.release.keys.keys import PrivateKey, make_key
from enginecrate.release.signatures.reader import read_signatures
from enginecrate.release.signatures.signer import sign_image
from enginecrate.values import Digest, ImageRef
from small_images import add_cosign, add_image, attach

VENDOR, AUDITOR, CUSTOMER = make_key(), make_key(), make_key()


@pytest.fixture
def vendor(tmp_path: Path) -> Layout:
    """The vendor's folder with one signed image."""
    layout = Layout(tmp_path / "vendor", create=True)
    image = add_image(layout, ["v1.0.0"])
    sign_image(layout, image, [VENDOR], "registry.example.com/isv/app")
    return layout


@pytest.fixture
def repository(registry: Registry, request: pytest.FixtureRequest) -> Iterator[Repository]:
    name = "shared/" + request.node.name.replace("_", "-").split("[")[0].lower()
    opened = Repository(ImageRef(registry.address, name), write=True)
    yield opened
    opened.close()


def signers(transport, image: Descriptor) -> list[PrivateKey]:
    """The signers whose signatures lie under cosign's tag, in order."""
    found, wrong = read_signatures(transport, Digest(image.digest))
    assert not wrong
    return [
        key
        for one in found
        for key in (VENDOR, AUDITOR, CUSTOMER)
        if key.public.verifies(one.signature, one.message)
    ]


def sig_tag(image: Descriptor) -> str:
    return f"sha256-{Digest(image.digest).hex}.sig"


def test_pushing_again_keeps_the_auditors_signature(vendor, repository):
    image = vendor.resolve("v1.0.0")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    sign_image(repository, image, [AUDITOR], "registry.example.com/isv/app")
    both = repository.resolve(sig_tag(image))
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    assert signers(repository, image) == [VENDOR, AUDITOR]
    assert repository.resolve(sig_tag(image)) == both
    assert len(repository.referrers(Digest(image.digest))) == 2


def test_signatures_made_apart_come_together(vendor, repository, tmp_path):
    """The vendor and the auditor each sign at home; a site loads its own on top."""
    image = vendor.resolve("v1.0.0")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    auditor, site = Layout(tmp_path / "a", create=True), Layout(tmp_path / "s", create=True)
    for layout, key in ((auditor, AUDITOR), (site, CUSTOMER)):
        copy_image(vendor, "v1.0.0", layout, ["v1.0.0"], referrers=False)
        sign_image(layout, image, [key], "registry.example.com/isv/app")
    copy_image(auditor, "v1.0.0", repository, ["v1.0.0"])
    assert signers(repository, image) == [VENDOR, AUDITOR]
    save(site, ["v1.0.0"], tmp_path / "site.tar")
    copy_images(Archive(tmp_path / "site.tar"), "", repository)
    assert signers(repository, image) == [VENDOR, AUDITOR, CUSTOMER]
    first = repository.resolve(sig_tag(image))
    for source in (vendor, auditor, site):
        copy_image(source, "v1.0.0", repository, ["v1.0.0"])
    assert repository.resolve(sig_tag(image)) == first
    copy_image(repository, "v1.0.0", auditor, ["v1.0.0"])
    assert signers(auditor, image) == [VENDOR, AUDITOR, CUSTOMER]
    assert auditor.resolve(sig_tag(image)) == first  # who has everything is copied as it is


def test_an_sbom_that_was_replaced_is_replaced_there_too(vendor, repository):
    """Cosign takes exactly one document under `.sbom`."""
    image = vendor.resolve("v1.0.0")
    tag = f"sha256-{Digest(image.digest).hex}.sbom"
    for content in (b"first", b"corrected"):
        config = vendor.add_blob(iter((b"{}",)), "application/vnd.oci.image.config.v1+json")
        layer = vendor.add_blob(iter((content,)), "text/spdx+json")
        manifest = ImageManifest(config=config, layers=(layer,))
        sbom = vendor.write_manifest(encode(manifest), manifest.media_type, [tag])
        copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
        assert repository.resolve(tag).digest == sbom.digest


def test_in_a_folder_the_same(vendor, tmp_path):
    image, end = vendor.resolve("v1.0.0"), Layout(tmp_path / "end", create=True)
    copy_image(vendor, "v1.0.0", end, ["v1.0.0"])
    sign_image(end, image, [AUDITOR], "registry.example.com/isv/app")
    copy_image(vendor, "v1.0.0", end, ["v1.0.0"])
    assert signers(end, image) == [VENDOR, AUDITOR]
    document = decode(end.read_manifest(Digest(end.resolve(sig_tag(image)).digest)),
                      ImageManifest, "signatures")  # fmt: skip
    assert all(end.has_blob(Digest(one.digest)) for one in (document.config, *document.layers))
    assert len({one.annotations[SIGNATURE] for one in document.layers}) == 2
    # Nothing is left over: everything that lies there is in use.
    copy_image(end, "v1.0.0", again := Layout(tmp_path / "again", create=True), ["v1.0.0"])
    assert again.prune(older_than=0) == 0


def test_what_hangs_on_signatures_comes_with_them(vendor, repository):
    image = vendor.resolve("v1.0.0")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    sign_image(repository, image, [AUDITOR], "registry.example.com/isv/app")
    signature = vendor.resolve(sig_tag(image))
    stamp = attach(vendor, signature, b"time stamp")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    (listed,) = repository.referrers(Digest(signature.digest))
    assert listed.digest == stamp.digest
    assert repository.resolve(signature.digest).digest == signature.digest


def test_a_copy_by_the_tag_itself_adds_too(vendor, repository, tmp_path):
    image = vendor.resolve("v1.0.0")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    other = Layout(tmp_path / "other", create=True)
    copy_image(vendor, "v1.0.0", other, ["v1.0.0"], referrers=False)
    sign_image(other, image, [AUDITOR], "registry.example.com/isv/app")
    copied = copy_image(other, sig_tag(image), repository, [sig_tag(image)])
    assert signers(repository, image) == [VENDOR, AUDITOR]
    assert repository.resolve(sig_tag(image)) == copied


def test_a_copied_list_of_referrers_drops_no_entries(vendor, repository, tmp_path):
    """Only somebody who copies `sha256-<hex>` by its name meets this."""
    image = vendor.resolve("v1.0.0")
    copy_image(vendor, "v1.0.0", repository, ["v1.0.0"])
    theirs = repository.referrers(Digest(image.digest))
    other = Layout(tmp_path / "other", create=True)
    mine = attach(other, image, b"mine")
    tag = f"sha256-{Digest(image.digest).hex}"
    other.write_manifest(encode(ImageIndex(manifests=(mine,))), INDEX, [tag])
    copy_image(other, tag, repository, [tag])
    digests = {one.digest for one in repository.referrers(Digest(image.digest))}
    assert digests == {one.digest for one in theirs} | {mine.digest}


def test_what_is_of_another_kind_is_left_alone(vendor, tmp_path):
    image, end = vendor.resolve("v1.0.0"), Layout(tmp_path / "end", create=True)
    end.write_manifest(encode(ImageIndex(manifests=())), INDEX, [sig_tag(image)])
    with pytest.raises(TagTaken, match="of another kind"):
        copy_image(vendor, "v1.0.0", end, ["v1.0.0"])
    assert "v1.0.0" not in end.tags()


def test_damaged_signatures_are_replaced(vendor, tmp_path):
    image, end = vendor.resolve("v1.0.0"), Layout(tmp_path / "end", create=True)
    copy_image(vendor, "v1.0.0", end, ["v1.0.0"])
    end.blob_path(Digest(end.resolve(sig_tag(image)).digest)).write_bytes(b"damaged")
    copy_image(vendor, "v1.0.0", end, ["v1.0.0"])
    assert signers(end, image) == [VENDOR]


def test_signatures_do_not_grow_without_end(vendor, tmp_path):
    image = vendor.resolve("v1.0.0")
    add_cosign(vendor, image)
    document = decode(vendor.read_manifest(Digest(vendor.resolve(sig_tag(image)).digest)),
                      ImageManifest, "signatures")  # fmt: skip
    (layer,) = document.layers
    many = tuple(
        Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size,
                   annotations={SIGNATURE: str(number)}) for number in range(1000)
    )  # fmt: skip
    data = encode(ImageManifest(config=document.config, layers=many))
    vendor.write_manifest(data, document.media_type, [sig_tag(image)])
    with pytest.raises(ImageInvalid, match="more than 1000"):
        write_shared(vendor, sig_tag(image), encode(document), document.media_type)
