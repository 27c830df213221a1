"""Registries with the whole distribution specification, and registries that lie."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginecrate.errors import (
    BlobCorrupt,
    ImageInvalid,
    ImageNotFound,
    RegistryDenied,
    RegistryUnavailable,
)
from enginecrate.image.formats.oci import LAYER_GZIP, MANIFEST, Descriptor
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.values import Digest, ImageRef
from faulty_proxy import faulty_proxy
from modern_registry import INDEX, ModernRegistry, modern_registry
from small_images import SIGNATURE_TYPE, add_image, attach, noise

MIB = 1 << 20


@pytest.fixture
def modern() -> Iterator[ModernRegistry]:
    with modern_registry() as running:
        yield running


@pytest.fixture
def options() -> RegistryOptions:
    return RegistryOptions(retry=Retry(attempts=4, sleep=lambda _: None), chunk_size=MIB)


@pytest.fixture
def repository(modern: ModernRegistry, options: RegistryOptions) -> Repository:
    return Repository(ImageRef(modern.address, "isv/app"), options, write=True)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def blob_of(data: bytes) -> Descriptor:
    return Descriptor(media_type=LAYER_GZIP, digest=Digest.of(data), size=len(data))


def test_the_referrers_api_is_used_where_there_is_one(modern, repository, layout):
    image = add_image(layout, ["v1"])
    first, second = attach(layout, image, b"1"), attach(layout, image, b"2", SIGNATURE_TYPE)
    copy_image(layout, "v1", repository, ["v1"])
    assert list(modern.tags) == ["v1"]  # no fallback tag
    found = repository.referrers(Digest(image.digest))  # comes in two pages
    assert {one.digest for one in found} == {first.digest, second.digest}
    (chosen,) = repository.referrers(Digest(image.digest), SIGNATURE_TYPE)
    assert chosen.digest == second.digest


def test_pages_of_tags(modern, repository, layout):
    add_image(layout, ["v1"])
    names = [f"t{number}" for number in range(5)]
    copy_image(layout, "v1", repository, names)
    assert repository.tags() == names
    assert sum("/tags/list" in path for _, path, _ in modern.seen) == 3


def test_an_upload_goes_on_in_the_middle_of_a_piece(modern, options):
    data = noise(4 * MIB, 1)
    with faulty_proxy(modern.address, cut_requests=[MIB + MIB // 2, MIB]) as proxy:
        repository = Repository(ImageRef(proxy.address, "isv/app"), options, write=True)
        repository.write_blob(blob_of(data), iter([data]))  # it cannot be read again
        assert proxy.cuts == 2
        assert proxy.sent < len(data) + 10_000  # no byte was sent twice
    assert modern.blobs[Digest.of(data)] == data
    assert len(modern.uploads) == 1


def test_a_registry_that_takes_no_pieces(modern, repository):
    modern.whole_only = True
    data = noise(3 * MIB, 2)
    repository.write_blob(blob_of(data), [data])
    assert modern.blobs[Digest.of(data)] == data
    assert modern.methods().count("PATCH") == 1


def test_a_server_without_ranges_is_skipped_through(modern, options):
    data = noise(2 * MIB, 3)
    modern.blobs[Digest.of(data)] = data
    with faulty_proxy(modern.address, cut_answers=[MIB]) as proxy:
        repository = Repository(ImageRef(proxy.address, "isv/app"), options)
        assert b"".join(repository.read_blob(blob_of(data))) == data
        assert proxy.cuts == 1


def test_a_lost_answer_to_a_finished_upload(modern, options):
    data = noise(1000, 4)
    with faulty_proxy(modern.address) as proxy:
        repository = Repository(ImageRef(proxy.address, "isv/app"), options, write=True)
        assert not repository.has_blob(Digest.of(data))
        # The blob arrives, but the connection breaks before the registry says so.
        modern.blobs[Digest.of(data)] = data
        proxy.cut_requests.append(100)
        repository.write_blob(blob_of(data), [data])
    assert repository.has_blob(Digest.of(data))


def answer(repository: Repository, path: str, body: bytes, **headers: str) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    registry = repository.registry_of_test  # type: ignore[attr-defined]
    registry.answers[f"GET /v2/isv/app/{path}"] = (200, names, body)


@pytest.fixture
def lying(modern: ModernRegistry, repository: Repository) -> Repository:
    repository.registry_of_test = modern  # type: ignore[attr-defined]
    return repository


GOOD = json.dumps({
    "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
    "config": {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1},
}).encode()  # fmt: skip


def test_another_manifest_than_the_digest_says(lying):
    digest = Digest.of(b"something else")
    answer(lying, f"manifests/{digest}", GOOD, Content_Type=MANIFEST)
    with pytest.raises(BlobCorrupt, match=digest):
        lying.read_manifest(digest)


def test_another_manifest_than_the_header_says(lying):
    answer(lying, "manifests/v1", GOOD, Docker_Content_Digest=Digest.of(b"other"))
    with pytest.raises(BlobCorrupt):
        lying.resolve("v1")


def test_a_manifest_that_is_sent_as_an_index(lying):
    answer(lying, "manifests/v1", GOOD, Content_Type=INDEX)
    with pytest.raises(ImageInvalid, match="was sent as"):
        lying.resolve("v1")


def test_a_manifest_without_end(lying):
    answer(lying, "manifests/v1", b" " * (5 * MIB), Content_Type=MANIFEST)
    with pytest.raises(ImageInvalid, match="limit"):
        lying.resolve("v1")


def test_a_blob_that_is_longer_than_it_says(lying):
    blob = blob_of(b"right")
    answer(lying, f"blobs/{blob.digest}", b"right and more")
    with pytest.raises(BlobCorrupt):
        list(lying.read_blob(blob))


def test_a_blob_that_is_shorter_than_it_says(lying):
    blob = blob_of(b"right and more")
    answer(lying, f"blobs/{blob.digest}", b"right")
    with pytest.raises((BlobCorrupt, RegistryUnavailable)):
        list(lying.read_blob(blob))


def test_a_list_of_tags_without_end(lying):
    link = '</v2/isv/app/tags/list?n=1>; rel="next"'
    answer(lying, "tags/list", b'{"tags":["a"]}', Link=link)
    with pytest.raises(ImageInvalid, match="pages"):
        lying.tags()


def test_a_list_that_goes_on_elsewhere(lying):
    answer(lying, "tags/list", b'{"tags":[]}', Link='<http://127.0.0.1:1/>; rel="next"')
    with pytest.raises(ImageInvalid, match="another host"):
        lying.tags()


def test_redirects_without_end(modern, repository):
    path = "/v2/isv/app/manifests/v1"
    modern.answers[f"GET {path}"] = (307, {"Location": path}, b"")
    with pytest.raises(RegistryUnavailable, match="redirects"):
        repository.resolve("v1")


def test_a_redirect_to_a_file_is_refused(modern, repository):
    modern.answers["GET /v2/isv/app/manifests/v1"] = (307, {"Location": "file:///etc/passwd"}, b"")
    with pytest.raises(RegistryUnavailable, match="file://"):
        repository.resolve("v1")


def test_what_a_registry_says_cannot_move_the_cursor(modern, repository):
    words = {"errors": [{"code": "DENIED", "message": "\x1b[2J\nno" + "x" * 5000}]}
    modern.answers["GET /v2/isv/app/manifests/v1"] = (403, {}, json.dumps(words).encode())
    with pytest.raises(RegistryDenied) as caught:
        repository.resolve("v1")
    assert "DENIED" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_something_that_is_no_registry(modern, repository):
    modern.answers["GET /v2/isv/app/manifests/v1"] = (200, {}, b"<html>welcome</html>")
    with pytest.raises(ImageInvalid, match="not a valid"):
        repository.resolve("v1")
    with pytest.raises(ImageNotFound):
        repository.resolve("v2")


def test_attachments_that_are_gone_or_belong_elsewhere_are_left_out(modern, repository, layout):
    image, other = add_image(layout, ["v1"]), add_image(layout, ["v2"], files={"o": b"o"})
    sbom, foreign = attach(layout, image, b"sbom"), attach(layout, other, b"foreign")
    for tag in ("v1", "v2"):
        copy_image(layout, tag, repository, [tag])
    listed = [
        {"mediaType": MANIFEST, "digest": digest, "size": 10}
        for digest in (sbom.digest, foreign.digest, "sha256:" + "1" * 64)
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
    path = f"GET /v2/isv/app/referrers/{image.digest}"
    modern.answers[path] = (200, {"Content-Type": INDEX}, index)
    copied = Layout(layout.folder.parent / "copied", create=True)
    copy_image(repository, "v1", copied, ["v1"])
    assert [one.digest for one in copied.referrers(Digest(image.digest))] == [sbom.digest]
    assert not copied.has_blob(Digest(foreign.digest))
