"""An OCI layout on disk: whole files, safe writers, honest readers."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from enginecrate.errors import (
    BlobCorrupt,
    ImageInvalid,
    ImageNotFound,
    InputUnreadable,
    SystemRefused,
    TagTaken,
)
from enginecrate.image.formats.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    ImageIndex,
    ImageManifest,
    encode,
)
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest
from small_images import add_image, add_index, attach


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def listed(layout: Layout) -> list[str]:
    return [one.digest for one in layout.index().manifests]


def test_what_was_written_is_read(layout):
    image = add_image(layout, ["v1.0.0", "v1.0"])
    again = Layout(layout.folder)
    assert again.tags() == ["v1.0", "v1.0.0"]
    assert again.resolve("v1.0") == again.resolve(image.digest) == image
    assert Digest.of(again.read_manifest(Digest(image.digest))) == image.digest


def test_the_order_of_writing_does_not_matter(tmp_path):
    one, other = (Layout(tmp_path / name, create=True) for name in ("one", "other"))
    for layout, order in ((one, (1, 2, 3)), (other, (3, 1, 2))):
        for number in order:
            add_image(layout, [f"v{number}"], files={"n": bytes([number])})
    assert (one.folder / "index.json").read_bytes() == (other.folder / "index.json").read_bytes()


def test_a_folder_that_is_no_layout(tmp_path):
    with pytest.raises(ImageNotFound, match="not an OCI layout"):
        Layout(tmp_path)


def test_an_unknown_tag_names_the_known_ones(layout):
    add_image(layout, ["v1.0.0"])
    with pytest.raises(ImageNotFound, match=r"v1\.0\.0"):
        layout.resolve("v2.0.0")


def test_a_manifest_inside_an_index_is_found_by_its_digest(layout):
    index = add_index(layout, ["v1"])
    assert listed(layout) == [index.digest]  # its children are not listed a second time
    document = json.loads(layout.read_manifest(Digest(index.digest)))
    child = document["manifests"][0]["digest"]
    assert layout.resolve(child).media_type == MANIFEST


@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
def test_damaged_bytes_are_noticed(layout, damage):
    blob = layout.add_blob([b"abc" * 1000], LAYER_GZIP)
    path = layout.blob_path(Digest(blob.digest))
    data = path.read_bytes()
    path.write_bytes({"flipped": b"x" + data[1:], "short": data[1:], "long": data + b"x"}[damage])
    with pytest.raises(BlobCorrupt, match=blob.digest):
        list(layout.read_blob(blob))


def test_a_damaged_manifest_is_noticed(layout):
    image = add_image(layout, ["v1"])
    layout.blob_path(Digest(image.digest)).write_bytes(b"{}")
    with pytest.raises(BlobCorrupt):
        layout.read_manifest(Digest(image.digest))


def test_wrong_bytes_leave_nothing_behind(layout):
    wrong = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(b"right"), size=5)
    with pytest.raises(BlobCorrupt):
        layout.write_blob(wrong, [b"wrong"])
    assert list((layout.folder / "blobs" / "sha256").iterdir()) == []


def test_other_digests_than_sha256_are_refused(layout):
    other = Descriptor(media_type=LAYER_GZIP, digest="sha512:" + "0" * 128, size=1)
    with pytest.raises(ImageInvalid, match="sha256"):
        list(layout.read_blob(other))
    with pytest.raises(ImageInvalid, match="sha256"):
        layout.write_blob(other, [b"x"])


def test_a_tag_that_moves_and_one_that_does_not(layout):
    first = add_image(layout, ["v1.0.0", "v1.0"])
    data = layout.read_manifest(Digest(first.digest))
    layout.write_manifest(data, MANIFEST, ["v1.0.0"], immutable=["v1.0.0"])  # the same image
    second = add_image(layout, ["v1.0"], files={"new": b"new"})
    assert layout.resolve("v1.0") == second
    assert layout.resolve("v1.0.0") == first
    with pytest.raises(TagTaken, match=r"v1\.0\.0 names sha256:"):
        layout.write_manifest(
            layout.read_manifest(Digest(second.digest)), MANIFEST, ["v1.0.0"], immutable=["v1.0.0"]
        )
    assert layout.resolve("v1.0.0") == first


def test_what_is_attached_is_listed_with_type_and_annotations(layout):
    image = add_image(layout, ["v1"])
    sbom = attach(layout, image, b"sbom")
    signature = attach(layout, sbom, b"signature", "application/vnd.example.other")
    (found,) = layout.referrers(Digest(image.digest))
    assert (found.digest, found.artifact_type) == (sbom.digest, "application/vnd.example.sbom+json")
    assert found.annotations == {"org.example.note": "kept"}
    assert [one.digest for one in layout.referrers(Digest(sbom.digest))] == [signature.digest]
    assert layout.referrers(Digest(image.digest), "application/vnd.other") == []


def test_an_index_can_be_attached_too(layout):
    image = add_image(layout, ["v1"])
    attached = ImageIndex(manifests=(), subject=image, artifact_type="application/vnd.example.set")
    written = layout.write_manifest(encode(attached), INDEX)
    (found,) = layout.referrers(Digest(image.digest))
    assert (found.digest, found.media_type) == (written.digest, INDEX)
    assert found.artifact_type == "application/vnd.example.set"


def test_an_attached_child_of_an_index_stays_listed(layout):
    image = add_image(layout, ["v1"])
    sbom = attach(layout, image, b"sbom")
    layout.write_manifest(encode(ImageIndex(manifests=(sbom,))), INDEX, ["set"])
    assert [one.digest for one in layout.referrers(Digest(image.digest))] == [sbom.digest]


def test_a_list_of_referrers_that_another_tool_copied_is_read(layout):
    image = add_image(layout, ["v1"])
    sbom = attach(layout, image, b"sbom")
    fallback = f"sha256-{Digest(image.digest).hex}"
    layout.write_manifest(encode(ImageIndex(manifests=(sbom,))), INDEX, [fallback])
    index = json.loads((layout.folder / "index.json").read_text())
    index["manifests"] = [one for one in index["manifests"] if one["digest"] != sbom.digest]
    (layout.folder / "index.json").write_text(json.dumps(index))
    assert [one.digest for one in layout.referrers(Digest(image.digest))] == [sbom.digest]


def test_prune_removes_what_nothing_leads_to(layout):
    index = add_index(layout, ["v1"])
    attach(layout, index, b"sbom")
    needed = {path.name for path in (layout.folder / "blobs" / "sha256").iterdir()}
    orphan = layout.add_blob([b"x" * 1000], LAYER_GZIP)
    (layout.folder / "blobs" / "sha256" / ".0123.partial").write_bytes(b"y" * 24)
    assert layout.prune() == 0  # somebody may just be writing them
    assert layout.has_blob(Digest(orphan.digest))
    assert layout.prune(older_than=0) == 1024
    assert {path.name for path in (layout.folder / "blobs" / "sha256").iterdir()} == needed


def test_prune_takes_attachments_of_an_image_that_is_gone(layout):
    """Its tag has moved; what is attached to the new image, and to that, stays."""
    for content in (b"old", b"new"):
        image = add_image(layout, ["v1"], files={"n": content})
        sbom = attach(layout, image, b"sbom of " + content)
        attach(layout, sbom, b"signature of the sbom of " + content)
        data = layout.read_manifest(Digest(sbom.digest))
        layout.write_manifest(data, sbom.media_type, [f"sha256-{image.digest[7:]}.sig"])
    assert len(layout.referrers(Digest(image.digest))) == 1
    before = {one.digest for one in layout.index().manifests}
    layout.prune()  # all of it is young
    assert {one.digest for one in layout.index().manifests} == before
    assert layout.prune(older_than=0) > 0
    assert layout.tags() == [f"sha256-{image.digest[7:]}.sig", "v1"]
    (kept,) = layout.referrers(Digest(image.digest))
    assert kept.digest == sbom.digest
    assert len(layout.referrers(Digest(sbom.digest))) == 1
    assert len(layout.index().manifests) == 3
    assert layout.prune(older_than=0) == 0


def test_prune_leaves_what_was_asked_for_lately(layout):
    orphan = layout.add_blob([b"x"], LAYER_GZIP)
    path = layout.blob_path(Digest(orphan.digest))
    os.utime(path, (0, 0))
    assert layout.has_blob(Digest(orphan.digest))  # a writer that relies on it
    assert layout.prune() == 0


def test_prune_beside_a_writer(layout):
    """Files of a writer appear, get their name and go while the folder is being read."""
    image, ended = add_image(layout, ["v1"]), threading.Event()

    def write() -> None:
        while not ended.is_set():
            blob = layout.add_blob([os.urandom(64)], LAYER_GZIP)
            # Else the folder grows, and with it the work of each round.
            layout.blob_path(Digest(blob.digest)).unlink()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(300):
            assert layout.prune() == 0
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert layout.resolve("v1") == image


def test_a_file_that_vanishes_meanwhile_is_none(layout, monkeypatch):
    listed = Path.iterdir
    gone = layout.folder / "blobs" / "sha256" / ".0123.partial"
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([*listed(path), gone]))
    orphan = layout.add_blob([b"x"], LAYER_GZIP)
    assert layout.prune(older_than=0) == orphan.size


def test_prune_touches_nothing_while_a_manifest_cannot_be_read(layout):
    add_image(layout, ["v1"])
    orphan = layout.add_blob([b"x"], LAYER_GZIP)
    strange = layout.add_blob([b"{}"], "application/vnd.example.other")
    index = layout.index()
    entries = (*index.manifests, strange)
    (layout.folder / "index.json").write_bytes(encode(ImageIndex(manifests=entries)))
    with pytest.raises(ImageInvalid):
        layout.prune(older_than=0)
    assert layout.has_blob(Digest(orphan.digest))


def test_a_folder_that_cannot_be_cleaned_up(layout, monkeypatch):
    layout.add_blob([b"x"], LAYER_GZIP)

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SystemRefused, match="cannot clean up"):
        layout.prune(older_than=0)


def test_the_index_is_written_before_a_blob_goes(layout, monkeypatch):
    """A process that dies in between leaves bytes too many, and no entry that leads nowhere."""
    image = add_image(layout, ["v1"])
    sbom = attach(layout, image, b"sbom")
    add_image(layout, ["v1"], files={"new": b"new"})
    seen: list[list[str]] = []
    unlink = Path.unlink

    def watched(path: Path, **facts: bool) -> None:
        if len(path.name) == 64:
            seen.append(listed(layout))
        unlink(path, **facts)

    monkeypatch.setattr(Path, "unlink", watched)
    assert layout.prune(older_than=0) > 0
    assert seen
    assert all(sbom.digest not in one for one in seen)


def test_what_is_young_keeps_what_it_leads_to(layout):
    """A writer used blobs that were there for long."""
    image = add_image(layout, ["v1"])
    sbom = attach(layout, image, b"sbom")
    add_image(layout, ["v1"], files={"new": b"new"})  # the image is gone, and so is its SBOM
    for path in (layout.folder / "blobs" / "sha256").iterdir():
        if path.name != Digest(sbom.digest).hex:
            os.utime(path, (0, 0))
    layout.prune()
    assert sbom.digest in listed(layout)
    manifest = json.loads(layout.read_manifest(Digest(sbom.digest)))
    assert layout.has_blob(Digest(manifest["layers"][0]["digest"]))


def test_a_huge_manifest_is_not_read(layout):
    image = add_image(layout, ["v1"])
    os.truncate(layout.blob_path(Digest(image.digest)), 300 << 20)
    with pytest.raises(ImageInvalid, match="manifests may have"):
        layout.read_manifest(Digest(image.digest))


def test_many_processes_write_one_layout(layout):
    script = (
        "import sys; from pathlib import Path; from small_images import add_image\n"
        "from enginecrate.image.transports.layout import Layout\n"
        "layout = Layout(Path(sys.argv[1]), create=True)\n"
        "for n in range(10):\n"
        "    add_image(layout, [f'v{sys.argv[2]}-{n}'], files={'n': sys.argv[2].encode()})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, layout.folder, str(number)], env=environment
        )
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(layout.tags()) == 30
    assert layout.prune(older_than=0) == 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"schemaVersion":2}', "not a manifest"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}', "not a manifest"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "not a manifest"),
        (b"[]", "not a valid"),
        (b"x" * (4 << 20) + b"x", "may have"),
    ],
)
def test_what_is_no_manifest_is_refused(layout, document, message):
    blob = layout.add_blob([document], MANIFEST)
    with pytest.raises(ImageInvalid, match=message):
        layout.resolve(blob.digest)


def test_a_manifest_of_docker_is_understood(layout):
    config, layer = layout.add_blob([b"{}"], CONFIG), layout.add_blob([b"x"], LAYER_GZIP)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    data = encode(ImageManifest(media_type=kind, config=config, layers=(layer,)))
    blob = layout.add_blob([data], kind)
    assert layout.resolve(blob.digest).media_type == kind


def test_an_index_that_is_a_folder(layout):
    (layout.folder / "index.json").unlink()
    (layout.folder / "index.json").mkdir()
    with pytest.raises(InputUnreadable, match=r"cannot read .*index\.json: Is a directory"):
        layout.tags()


def test_a_full_disk_is_named(layout):
    def pieces():
        yield b"a"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemRefused, match=r"cannot write to .*blobs/sha256: No space left"):
        layout.add_blob(pieces(), "text/plain")
    assert not list((layout.folder / "blobs" / "sha256").iterdir())
