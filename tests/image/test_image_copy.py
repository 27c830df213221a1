"""Copies between all kinds of places: complete, resumable, and with the same digests."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Registry
from enginecrate.errors import (
    BlobCorrupt,
    ImageError,
    ImageInvalid,
    ImageNotFound,
    ReferenceInvalid,
    TagTaken,
)
from enginecrate.image.formats.oci import INDEX, MANIFEST, Descriptor, ImageIndex, encode
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_export import save
from enginecrate.image.transports.reference import open_target, open_transport
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.image.transports.tags import is_immutable
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Digest, ImageRef
from faulty_proxy import faulty_proxy
from small_images import (
    SIGNATURE_TYPE,
    add_cosign,
    add_image,
    add_index,
    attach,
    noise,
)

MIB = 1 << 20
ONCE = RegistryOptions(retry=Retry(attempts=1), chunk_size=MIB)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


@pytest.fixture
def repository(registry: Registry, request: pytest.FixtureRequest) -> Iterator[Repository]:
    name = "copies/" + request.node.name.replace("_", "-").split("[")[0].lower()
    opened = Repository(ImageRef(registry.address, name), ONCE, write=True)
    yield opened
    opened.close()


def release(layout: Layout) -> tuple[Descriptor, Descriptor, Descriptor, Descriptor]:
    """An image for two platforms with an SBOM, a signature of that, and cosign's own tag."""
    index = add_index(layout, ["v1.0.0"])
    sbom = attach(layout, index, b"sbom")
    signature = attach(layout, sbom, b"signature", SIGNATURE_TYPE)
    return index, sbom, signature, add_cosign(layout, index)


def test_everything_goes_with_an_image_through_registry_archive_and_folder(
    layout, repository, tmp_path
):
    index, sbom, signature, cosign = release(layout)
    copy_image(layout, "v1.0.0", repository, ["v1.0.0"])
    save(repository, ["v1.0.0"], tmp_path / "app.tar")
    end = Layout(tmp_path / "end", create=True)
    copy_image(Archive(tmp_path / "app.tar"), "v1.0.0", end, ["v1.0.0"])
    for transport in (repository, Archive(tmp_path / "app.tar"), end):
        assert transport.resolve("v1.0.0").digest == index.digest
        (one,) = transport.referrers(Digest(index.digest))
        (two,) = transport.referrers(Digest(sbom.digest))
        assert (one.digest, two.digest) == (sbom.digest, signature.digest)
        assert two.artifact_type == SIGNATURE_TYPE
        assert one.annotations == {"org.example.note": "kept"}
        assert transport.resolve(f"sha256-{Digest(index.digest).hex}.sig").digest == cosign.digest
    assert sorted(path.name for path in (end.folder / "blobs/sha256").iterdir()) == sorted(
        path.name for path in (layout.folder / "blobs/sha256").iterdir()
    )


def test_without_what_is_attached(layout, tmp_path):
    release(layout)
    end = Layout(tmp_path / "end", create=True)
    copy_image(layout, "v1.0.0", end, ["v1.0.0"], referrers=False)
    assert len(end.index().manifests) == 1


def test_what_is_there_is_not_copied(layout, registry, repository):
    release(layout)
    copy_image(layout, "v1.0.0", repository, ["v1.0.0"])
    seen: list[tuple[str, int, int]] = []
    with faulty_proxy(registry.address) as proxy:
        again = Repository(
            ImageRef(proxy.address, repository.reference.repository), ONCE, write=True
        )
        copy_image(layout, "v1.0.0", again, ["v1.0.0"], progress=lambda *facts: seen.append(facts))
        assert seen == [("copy", 0, 0)]
        new = attach(layout, layout.resolve("v1.0.0"), b"new", SIGNATURE_TYPE)
        copy_image(layout, "v1.0.0", again, ["v1.0.0"])
    found = repository.referrers(Digest(layout.resolve("v1.0.0").digest), SIGNATURE_TYPE)
    assert [one.digest for one in found] == [new.digest]


def test_only_a_changed_layer_is_pushed(layout, registry, repository):
    """The cost of a rebuild after a new model."""
    big = layout.add_blob([noise(4 * MIB, 1)], "application/vnd.oci.image.layer.v1.tar+gzip")
    images = []
    for number in (1, 2):
        one = add_image(layout, files={"model": noise(100_000, number)})
        document = json.loads(layout.read_manifest(Digest(one.digest)))
        document["layers"].insert(0, {"mediaType": big.media_type, "digest": big.digest,
                                      "size": big.size})  # fmt: skip
        data = json.dumps(document).encode()
        images.append(layout.write_manifest(data, MANIFEST, [f"v{number}"]))
    copy_image(layout, "v1", repository, ["v1"])
    with faulty_proxy(registry.address) as proxy:
        again = Repository(
            ImageRef(proxy.address, repository.reference.repository), ONCE, write=True
        )
        copy_image(layout, "v2", again, ["v2"])
        assert proxy.sent < 150_000


def test_progress_counts_bytes(layout, repository):
    add_image(layout, ["v1"], files={"big": noise(3 * MIB)})
    seen: list[tuple[str, int, int]] = []
    copy_image(layout, "v1", repository, ["v1"], progress=lambda *facts: seen.append(facts))
    steps, done, totals = zip(*seen, strict=True)
    assert set(steps) == {"copy"}
    assert list(done) == sorted(done)
    assert done[-1] == totals[0] > 3 * MIB


def test_one_platform_of_an_image(layout, tmp_path):
    add_index(layout, ["v1"])
    end = Layout(tmp_path / "end", create=True)
    copied = copy_image(layout, "v1", end, ["v1-arm64"], platforms=["linux/arm64"])
    assert copied.media_type == MANIFEST
    assert end.tags() == ["v1-arm64"]
    with pytest.raises(ImageNotFound, match=r"linux/amd64, linux/arm64"):
        copy_image(layout, "v1", end, ["v1"], platforms=["linux/riscv64"])
    release_index = json.loads(layout.read_manifest(Digest(layout.resolve("v1").digest)))
    release_index["manifests"][1]["platform"]["variant"] = "v8"
    layout.write_manifest(json.dumps(release_index).encode(), INDEX, ["v1-variant"])
    for platform in ("linux/arm64", "linux/arm64/v8"):
        assert copy_image(layout, "v1-variant", end, [], platforms=[platform]) == copied
    with pytest.raises(ImageNotFound, match="linux/arm64 alone"):
        copy_image(end, "v1-arm64", end, [], platforms=["linux/amd64"])
    all_of_it = copy_image(layout, "v1", end, ["v1"], platforms=["linux/arm64", "linux/amd64"])
    assert all_of_it == layout.resolve("v1")
    add_index(layout, ["v2"], ["amd64", "arm64", "riscv64"])
    with pytest.raises(ImageInvalid, match="one platform, or all"):
        copy_image(layout, "v2", end, ["v2"], platforms=["linux/arm64", "linux/amd64"])


def test_a_taken_tag_stops_before_anything_is_copied(layout, repository):
    add_image(layout, ["v1.0.0"])
    copy_image(layout, "v1.0.0", repository, ["v1.0.0"])
    other = add_image(layout, ["new"], files={"new": noise(1000, 9)})
    with pytest.raises(TagTaken):
        copy_image(layout, "new", repository, ["v1.0.0"], immutable=["v1.0.0"])
    with pytest.raises(ImageNotFound):
        repository.resolve(other.digest)


def test_tags_appear_when_everything_is_there(layout, tmp_path):
    """A copy that fails leaves no image that could be pulled without its signatures."""
    release(layout)
    layout.blob_path(Digest.of(b"signature")).unlink()
    end = Layout(tmp_path / "end", create=True)
    with pytest.raises(ImageNotFound):
        copy_image(layout, "v1.0.0", end, ["v1.0.0"])
    assert end.tags() == []


def test_damaged_bytes_do_not_spread(layout, repository):
    add_image(layout, ["v1"], files={"big": noise(2 * MIB)})
    largest = max((layout.folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[1000] ^= 1
    largest.write_bytes(data)
    with pytest.raises(BlobCorrupt, match=largest.name):
        copy_image(layout, "v1", repository, ["v1"])
    assert repository.tags() == []


def test_a_broken_copy_goes_on(layout, registry, repository, tmp_path):
    for number in range(4):
        add_image(layout, files={"big": noise(MIB, number)})
    children = tuple(layout.index().manifests)
    layout.write_manifest(encode(ImageIndex(manifests=children)), INDEX, ["v1"])
    copy_image(layout, "v1", repository, ["v1"])
    end = Layout(tmp_path / "end", create=True)
    options = RegistryOptions(retry=ONCE.retry, downloads=tmp_path / "downloads")
    with faulty_proxy(registry.address, cut_answers=[2 * MIB + MIB // 2]) as proxy:
        reference = ImageRef(proxy.address, repository.reference.repository)
        with pytest.raises(ImageError):
            copy_image(Repository(reference, options), "v1", end, ["v1"], workers=1)
        first = proxy.received
        copy_image(Repository(reference, options), "v1", end, ["v1"], workers=1)
        assert proxy.received - first < 2 * MIB
    assert end.resolve("v1") == layout.resolve("v1")
    assert end.prune(older_than=0) == 0


def test_ctrl_c_ends_a_copy_at_once_and_the_next_one_goes_on(
    layout, registry, repository, tmp_path
):
    add_image(layout, ["v1"], files={"big": noise(6 * MIB)})
    copy_image(layout, "v1", repository, ["v1"])
    program = Path(sys.executable).with_name("enginecrate")
    environment = os.environ | {"ENGINECRATE_CACHE_DIR": str(tmp_path / "cache")}
    with faulty_proxy(registry.address) as proxy:
        proxy.hold_at = 3 * MIB
        source = f"{proxy.address}/{repository.reference.repository}:v1"
        words = ["image", "copy", source, f"oci:{tmp_path / 'end'}", "--json"]
        process = subprocess.Popen(
            [program, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while _kept(tmp_path / "cache") < 2 * MIB:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (130, b"", b"")
        end = Layout(tmp_path / "end")
        assert end.tags() == []
        first, proxy.hold_at = proxy.received, float("inf")
        again = subprocess.run([program, *words], env=environment, capture_output=True)
        assert (again.returncode, again.stderr) == (0, b""), again.stdout
        assert proxy.received - first < 4 * MIB + 20_000
    assert end.resolve("v1") == layout.resolve("v1")


def _kept(cache: Path) -> int:
    """Bytes of downloads that a later run can go on with."""
    return sum(path.stat().st_size for path in cache.glob("downloads/*"))


def test_a_crew_stops_at_the_first_error():
    started: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if number == 1:
            gate.set()
            raise ValueError("one")
        gate.wait(10)
        for _ in pool.watched(iter([b""] * 10)):
            pass
        return number

    pool = TransferPool(2)
    with pytest.raises(ValueError, match="one"):
        pool.each(work, range(100))
    assert len(started) < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("isv/app", r"docker\.io/isv/app"),
        ("app:v1", "docker.io/app:v1"),
        ("registry.example.com/isv/app:latest", "latest"),
        ("registry.example.com/isv/app", "add a tag"),
        ("registry.example.com/ISV/app:v1", "lower case"),
        ("registry.example.com/isv/app@sha256:12", "REGISTRY/REPOSITORY"),
        ("", "names neither"),
    ],
)
def test_names_that_do_not_say_enough(text, message):
    with pytest.raises(ReferenceInvalid, match=message):
        open_transport(text)


def test_names_of_images_in_registries():
    digest = "sha256:" + "0" * 64
    for text, expected in (
        ("registry.example.com/isv/app:v1", "v1"),
        (f"registry.example.com/isv/app:v1@{digest}", digest),
        ("docker://localhost:5000/app:v1", "v1"),
        ("docker.io/isv/app:v1", "v1"),
    ):
        transport, name = open_transport(text)
        assert isinstance(transport, Repository)
        assert name == expected


def test_names_of_images_on_disk(layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = add_image(layout, ["v1.0.0", "v1.0", "v1"])
    attach(layout, image, b"sbom")
    add_cosign(layout, image)
    for text in ("layout", "oci:layout", "layout:v1.0.0", f"{tmp_path}/layout"):
        transport, name = open_transport(text)
        assert (transport.resolve(name).digest, name) == (image.digest, "v1.0.0")
    assert open_transport(f"oci:layout@{image.digest}")[1] == image.digest
    save(layout, ["v1.0"], tmp_path / "app.tar")
    for text in ("app.tar", "app.tar:v1.0", "oci-archive:app.tar:v1.0"):
        transport, name = open_transport(text)
        assert (transport.resolve(name).digest, name) == (image.digest, "v1.0")
    add_image(layout, ["other"], files={"o": b"o"})
    with pytest.raises(ReferenceInvalid, match=r"2 images.*v1\.0\.0"):
        open_transport("layout")
    with pytest.raises(ReferenceInvalid, match="image save"):
        open_target("app.tar")
    created, name = open_target("oci:new/one:v1")
    assert (created.name, name) == ("oci:new/one", "v1")
    with pytest.raises(ReferenceInvalid):
        open_transport("./nowhere")


def test_which_tags_never_move():
    for tag in ("v1.2.0-ort-cpu", "1.2.0", "v1.2.0", "v1.2.0-release", "v1.3.0-rc.1-ort-cpu"):
        assert is_immutable(tag)
    for tag in ("v1.2-ort-cpu", "v1.2", "v1", "stable", "v1.2.x"):
        assert not is_immutable(tag)
