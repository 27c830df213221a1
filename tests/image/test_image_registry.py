"""Pull and push against a real registry, with a network that fails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Podman, Registry
from enginecrate.errors import (
    BlobCorrupt,
    ImageInvalid,
    ImageNotFound,
    RegistryUnavailable,
    TagTaken,
)
from enginecrate.image.formats.oci import (
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    ImageIndex,
    encode,
)
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.image.transports.registry.retries import RetryableError
from enginecrate.values import Digest, ImageRef
from faulty_proxy import error_answer, faulty_proxy
from small_images import SBOM_TYPE, add_image, attach, noise, program_files

MIB = 1 << 20


@pytest.fixture
def waits() -> list[float]:
    """The waits between tries, which are not waited for."""
    return []


@pytest.fixture
def options(waits: list[float], tmp_path: Path) -> RegistryOptions:
    retry = Retry(attempts=4, sleep=waits.append)
    return RegistryOptions(retry=retry, chunk_size=MIB, downloads=tmp_path / "downloads")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository for each test."""
    return "isv/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


@pytest.fixture
def repository(registry: Registry, name: str, options: RegistryOptions) -> Iterator[Repository]:
    opened = Repository(ImageRef(registry.address, name), options, write=True)
    yield opened
    opened.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def blob_of(data: bytes) -> Descriptor:
    return Descriptor(media_type=LAYER_GZIP, digest=Digest.of(data), size=len(data))


def stored(registry: Registry, digest: str) -> Path:
    hexadecimal = Digest(digest).hex
    folder = registry.storage / "docker/registry/v2/blobs/sha256" / hexadecimal[:2]
    return folder / hexadecimal / "data"


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB + 17])
def test_a_blob_of_any_size_goes_there_and_back(repository, size):
    data = noise(size)
    blob = blob_of(data)
    assert not repository.has_blob(Digest(blob.digest))
    repository.write_blob(blob, iter([data[:1000], data[1000:]]))
    assert repository.has_blob(Digest(blob.digest))
    assert b"".join(repository.read_blob(blob)) == data


def test_wrong_bytes_are_not_pushed(repository):
    for size in (10, 3 * MIB):
        right, wrong = noise(size, 1), noise(size, 2)
        with pytest.raises(BlobCorrupt):
            repository.write_blob(blob_of(right), iter([wrong]))
        assert not repository.has_blob(Digest.of(right))
        assert not repository.has_blob(Digest.of(wrong))


def test_a_flipped_byte_in_the_registry_is_noticed(repository, registry, layout, options):
    image = add_image(layout, ["v1"], files={"big": noise(2 * MIB)})
    copy_image(layout, "v1", repository, ["v1"])
    manifest = json.loads(layout.read_manifest(Digest(image.digest)))
    layer = manifest["layers"][0]
    path = stored(registry, layer["digest"])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    blob = Descriptor(media_type=LAYER_GZIP, digest=layer["digest"], size=layer["size"])
    for _ in range(2):  # and what was kept of it is not used again
        with pytest.raises(BlobCorrupt, match=layer["digest"]):
            list(repository.read_blob(blob))
    assert list(options.downloads.iterdir()) == []
    path = stored(registry, image.digest)
    text = path.read_text()
    other = "0" if layer["digest"][-1] != "0" else "1"
    path.write_text(text.replace(layer["digest"], layer["digest"][:-1] + other))
    fresh = Repository(repository.reference, options)
    with pytest.raises(BlobCorrupt, match="damaged"):
        fresh.resolve("v1")


def test_what_is_not_there(repository):
    with pytest.raises(ImageNotFound, match="no such image"):
        repository.resolve("v9")
    with pytest.raises(ImageNotFound):
        list(repository.read_blob(blob_of(b"nothing")))
    assert repository.tags() == []
    assert repository.referrers(Digest.of(b"nothing")) == []


def test_many_tags(repository, layout):
    add_image(layout, ["v1"])
    names = [f"t{number}" for number in range(9)]
    copy_image(layout, "v1", repository, names)
    assert repository.tags() == names


def test_an_immutable_tag_stays(repository, layout):
    first = add_image(layout, ["one"])
    second = add_image(layout, ["two"], files={"other": b"other"})
    copy_image(layout, "one", repository, ["v1.0.0", "v1.0"], immutable=["v1.0.0"])
    copy_image(layout, "one", repository, ["v1.0.0"], immutable=["v1.0.0"])
    with pytest.raises(TagTaken, match=first.digest):
        copy_image(layout, "two", repository, ["v1.0.0"], immutable=["v1.0.0"])
    data = layout.read_manifest(Digest(second.digest))
    with pytest.raises(TagTaken, match=first.digest):
        repository.write_manifest(data, MANIFEST, ["v1.0.0"], immutable=["v1.0.0"])
    assert repository.resolve("v1.0.0").digest == first.digest
    copy_image(layout, "two", repository, ["v1.0"])
    assert repository.resolve("v1.0").digest == second.digest


def test_referrers_by_the_fallback_tag(repository, layout):
    image = add_image(layout, ["v1"])
    copy_image(layout, "v1", repository, ["v1"])
    # Another tool's entry, with keys that we do not know, must survive.
    foreign = {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1,
               "artifactType": "application/vnd.foreign", "x-unknown": {"kept": True}}  # fmt: skip
    fallback = f"sha256-{Digest(image.digest).hex}"
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign]}
    # The registry wants to see what an index lists; so the entry is about a blob that is there.
    foreign["digest"], foreign["size"] = image.digest, image.size
    repository.put_manifest(json.dumps(listed).encode(), INDEX, fallback)
    sbom = attach(layout, image, b"sbom")
    copy_image(layout, "v1", repository, ["v1"])
    copy_image(layout, "v1", repository, ["v1"])
    found = repository.referrers(Digest(image.digest), SBOM_TYPE)
    assert [(one.digest, one.artifact_type) for one in found] == [(sbom.digest, SBOM_TYPE)]
    assert found[0].annotations == {"org.example.note": "kept"}
    data = json.loads(repository.fetch_manifest(fallback)[1])
    assert data["manifests"][0] == foreign
    assert len(data["manifests"]) == 2


def test_a_tag_of_referrers_that_is_an_image_is_refused(repository, layout):
    image = add_image(layout, ["v1"])
    add_image(layout, ["v2"], files={"other": b"image"})
    copy_image(layout, "v1", repository, ["v1"])
    copy_image(layout, "v2", repository, [f"sha256-{Digest(image.digest).hex}"])
    with pytest.raises(ImageInvalid, match="should list referrers"):
        repository.referrers(Digest(image.digest))


def test_a_blob_is_mounted_from_another_repository(registry, repository, options, name):
    data = noise(2 * MIB, 7)
    blob = blob_of(data)
    repository.write_blob(blob, [data])
    with faulty_proxy(registry.address) as proxy:
        other = Repository(ImageRef(proxy.address, name + "-other"), options, write=True)
        same = Repository(ImageRef(proxy.address, name), options)
        assert other.mount_blob(blob, same)
        assert other.has_blob(Digest(blob.digest))
        assert not other.mount_blob(blob_of(b"unknown"), same)
        assert not other.mount_blob(blob, repository)  # by another address
        assert proxy.sent < 10_000


def test_a_download_goes_on_where_it_broke(registry, repository, options, waits, name):
    data = noise(4 * MIB, 3)
    blob = blob_of(data)
    repository.write_blob(blob, [data])
    with faulty_proxy(registry.address, cut_answers=[MIB, MIB, 10]) as proxy:
        broken = Repository(ImageRef(proxy.address, name), options)
        assert b"".join(broken.read_blob(blob)) == data
        assert proxy.cuts == 3
        assert proxy.received < len(data) + 10_000  # headers; no byte of the blob came twice
    assert len(waits) == 3
    assert list(options.downloads.iterdir()) == []


def test_another_run_goes_on_with_a_broken_download(registry, repository, waits, name, tmp_path):
    data = noise(4 * MIB, 4)
    blob = blob_of(data)
    repository.write_blob(blob, [data])
    once = RegistryOptions(
        retry=Retry(attempts=1, sleep=waits.append), downloads=tmp_path / "downloads"
    )
    with faulty_proxy(registry.address, cut_answers=[3 * MIB]) as proxy:
        with pytest.raises(RegistryUnavailable, match="connection to"):
            list(Repository(ImageRef(proxy.address, name), once).read_blob(blob))
        assert proxy.broken.is_set()
        first = proxy.received
        again = Repository(ImageRef(proxy.address, name), once)
        assert b"".join(again.read_blob(blob)) == data
        assert proxy.received - first < 2 * MIB
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_damaged_part_of_a_download_is_forgotten(repository, options):
    data = noise(2 * MIB, 5)
    blob = blob_of(data)
    repository.write_blob(blob, [data])
    options.downloads.mkdir()
    (options.downloads / Digest(blob.digest).hex).write_bytes(b"x" * MIB)
    # A reader that fails at damaged bytes never comes to the end, where they would be noticed.
    assert data.startswith(next(iter(repository.read_blob(blob))))
    assert b"".join(repository.read_blob(blob)) == data


@pytest.mark.parametrize("replayable", [True, False])
def test_an_upload_survives_broken_connections(registry, options, name, replayable):
    # This registry forgets an upload whose connection breaks: everything is sent again.
    data = noise(4 * MIB, 6)
    blob = blob_of(data)
    with faulty_proxy(registry.address, cut_requests=[MIB + MIB // 2, 2 * MIB]) as proxy:
        repository = Repository(ImageRef(proxy.address, name), options, write=True)
        if replayable:
            repository.write_blob(blob, [data])
            assert b"".join(repository.read_blob(blob)) == data
            assert proxy.cuts == 2
            return
        with pytest.raises(RegistryUnavailable, match="forgot the upload"):
            repository.write_blob(blob, iter([data]))
        assert not repository.has_blob(Digest.of(data))


def test_a_small_blob_survives_a_broken_connection(registry, options, name):
    data = noise(MIB, 8)
    with faulty_proxy(registry.address, cut_requests=[MIB // 2, MIB // 2]) as proxy:
        repository = Repository(ImageRef(proxy.address, name), options, write=True)
        repository.write_blob(blob_of(data), iter([data]))
        assert proxy.cuts == 2
        assert repository.has_blob(Digest.of(data))


def test_busy_registries_are_asked_again(registry, repository, layout, options, waits, name):
    add_image(layout, ["v1"])
    copy_image(layout, "v1", repository, ["v1"])
    errors = [error_answer(503), error_answer(429, "Retry-After: 7"), error_answer(502)]
    with faulty_proxy(registry.address, errors=errors) as proxy:
        Repository(ImageRef(proxy.address, name), options).resolve("v1")
    assert len(waits) == 3
    assert waits[1] == 7
    assert 0.25 <= waits[0] <= 0.5  # half of the first wait, and jitter
    assert 1 <= waits[2] <= 2


def test_tries_are_limited(registry, options, waits, name):
    with faulty_proxy(registry.address, errors=[error_answer(503)] * 9) as proxy:
        with pytest.raises(RegistryUnavailable, match="503"):
            Repository(ImageRef(proxy.address, name), options).resolve("v1")
        assert len(proxy.errors) == 5
    assert len(waits) == 3


def test_waits_double_up_to_a_ceiling(waits):
    def refuse():
        raise RetryableError(RegistryUnavailable("busy"))

    with pytest.raises(RegistryUnavailable, match="busy"):
        Retry(attempts=12, first=0.5, longest=20, sleep=waits.append).run(refuse)
    ceilings = [0.5, 1, 2, 4, 8, 16, 20, 20, 20, 20, 20]
    assert len(waits) == len(ceilings)
    for wait, ceiling in zip(waits, ceilings, strict=True):
        assert ceiling / 2 <= wait <= ceiling


def test_the_longest_wait_that_a_registry_may_ask_for(waits):
    retry = Retry(patience=120, sleep=waits.append)
    retry.pause(0, RetryableError(RegistryUnavailable("busy"), wait=120))
    with pytest.raises(RegistryUnavailable, match="busy"):
        retry.pause(0, RetryableError(RegistryUnavailable("busy"), wait=120.5))
    assert waits == [120]


def test_a_registry_that_asks_for_too_much_patience(registry, options, waits, name):
    errors = [error_answer(429, "Retry-After: 9999")]
    with (
        faulty_proxy(registry.address, errors=errors) as proxy,
        pytest.raises(RegistryUnavailable, match="429"),
    ):
        Repository(ImageRef(proxy.address, name), options).resolve("v1")
    assert waits == []


def test_a_wrong_address_fails_at_once(options, waits):
    nobody = Repository(ImageRef("127.0.0.1:1", "isv/app"), options)
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1"):
        nobody.resolve("v1")
    assert waits == []


def test_skopeo_reads_what_we_push_and_writes_what_we_pull(
    repository, registry, layout, podman: Podman, tmp_path, name
):
    image = add_image(layout, ["v1"], files={"big": noise(3 * MIB)})
    copy_image(layout, "v1", repository, ["v1"])
    ours = f"docker://{repository.name}"
    shown = podman.run("inspect", "--tls-verify=false", f"{ours}:v1", tool="skopeo").stdout
    assert json.loads(shown)["Digest"] == image.digest
    podman.run("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
               f"{ours}:v1", f"{ours}:copied", tool="skopeo")  # fmt: skip
    podman.run("copy", "--dest-tls-verify=false", "--format=v2s2",
               f"oci:{layout.folder}:v1", f"{ours}:docker", tool="skopeo")  # fmt: skip
    pulled = Layout(tmp_path / "pulled", create=True)
    assert copy_image(repository, "copied", pulled, ["copied"]).digest == image.digest
    docker = copy_image(repository, "docker", pulled, ["docker"])
    assert docker.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    podman.run("inspect", f"oci:{pulled.folder}:copied", tool="skopeo")


def test_podman_runs_what_we_push(repository, layout, podman: Podman):
    add_image(layout, ["v1"], files=program_files(), command=["/bin/echo", "it runs"])
    copy_image(layout, "v1", repository, ["v1"])
    podman.run("pull", "--tls-verify=false", f"{repository.name}:v1")
    assert podman.run("run", "--rm", "--network=none", f"{repository.name}:v1").stdout == (
        "it runs\n"
    )


def test_an_index_is_pushed_after_what_it_lists(repository, layout):
    missing = Descriptor(media_type=MANIFEST, digest=Digest.of(b"missing"), size=7)
    layout.write_manifest(encode(ImageIndex(manifests=(missing,))), INDEX, ["v1"])
    with pytest.raises(ImageNotFound):
        copy_image(layout, "v1", repository, ["v1"])
    assert repository.tags() == []


def test_a_manifest_without_its_blobs_is_refused_in_words(repository, layout):
    image = add_image(layout)
    data = layout.read_manifest(Digest(image.digest))
    with pytest.raises((ImageInvalid, ImageNotFound), match="BLOB_UNKNOWN"):
        repository.write_manifest(data, MANIFEST, ["v1"])
