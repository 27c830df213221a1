"""One file for a site without network: written and read without unpacking, readable by others."""

import io
import json
import os
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from containers import Podman, Registry
from enginecrate.cli.main import main
from enginecrate.errors import (
    ArchiveUnsafe,
    BlobCorrupt,
    ImageError,
    ImageInvalid,
    ImageNotFound,
    InputUnreadable,
)
from enginecrate.image.formats.oci import LAYER_GZIP, Descriptor, ImageManifest, encode
from enginecrate.image.transports.copy import copy_images
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_check import archive_faults
from enginecrate.image.transports.oci_archive_export import release_of, save
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.values import Digest, ImageRef
from faulty_proxy import faulty_proxy
from small_images import add_cosign, add_image, add_index, attach, noise, program_files

MIB = 1 << 20
NAME = "registry.example.com/isv/app"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


@pytest.fixture
def archive(layout: Layout, tmp_path: Path) -> Path:
    """One image with an SBOM and a signature of cosign's."""
    image = add_image(layout, ["v1.0.0"], files={"big": noise(MIB)})
    attach(layout, image, b"sbom")
    add_cosign(layout, image)
    save(layout, ["v1.0.0"], tmp_path / "app.tar", repository=NAME)
    return tmp_path / "app.tar"


def test_the_same_images_give_the_same_bytes(layout, archive, registry: Registry, tmp_path):
    other = Repository(ImageRef(registry.address, "archives/same"), write=True)
    copy_images(Archive(archive), "", other)
    save(other, ["v1.0.0"], tmp_path / "other.tar", repository=NAME)
    assert (tmp_path / "other.tar").read_bytes() == archive.read_bytes()
    other.close()


def test_every_entry_is_plain(archive):
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname) for one in members} == {(0, 0, 0, "")}
    assert {one.mode for one in members if one.isreg()} == {0o644}
    assert [one.name for one in members][-2:] == ["index.json", "manifest.json"]


def test_podman_loads_and_runs_it(layout, tmp_path, podman: Podman):
    image = add_image(layout, ["v1.0.0"], files=program_files(), command=["/bin/echo", "loaded"])
    attach(layout, image, b"sbom")
    add_cosign(layout, image)
    save(layout, ["v1.0.0"], tmp_path / "app.tar", repository=NAME)
    podman.run("load", "--input", tmp_path / "app.tar")
    ran = podman.run("run", "--rm", "--network=none", "--pull=never", f"{NAME}:v1.0.0")
    assert ran.stdout == "loaded\n"


def test_skopeo_reads_it_and_we_read_what_skopeo_writes(layout, archive, tmp_path, podman: Podman):
    image = layout.resolve("v1.0.0")
    reference = f"oci-archive:{archive}:v1.0.0"
    shown = json.loads(podman.run("inspect", reference, tool="skopeo").stdout)
    assert shown["Digest"] == image.digest
    theirs = tmp_path / "theirs.tar"
    podman.run("copy", reference, f"oci-archive:{theirs}:example.com/app:v2", tool="skopeo")
    end = Layout(tmp_path / "end", create=True)
    ((loaded, tags),) = copy_images(Archive(theirs), "", end)
    assert (loaded.digest, tags) == (image.digest, ("v2",))


def test_docker_finds_its_own_list(layout, tmp_path):
    add_index(layout, ["v1.0.0"])
    save(layout, ["v1.0.0"], tmp_path / "app.tar", repository=NAME)
    with tarfile.open(tmp_path / "app.tar") as tar:
        (listed,) = json.load(tar.extractfile("manifest.json"))
        config = json.load(tar.extractfile(listed["Config"]))
        names = set(tar.getnames())
    assert listed["RepoTags"] == [f"{NAME}:v1.0.0"]
    assert config["architecture"] == "amd64"
    assert set(listed["Layers"]) <= names


def test_the_release_goes_with_its_image(layout, tmp_path):
    version = {"org.opencontainers.image.version": "1.2.0"}
    image = add_image(layout, ["v1.2.0-ort-cpu"], annotations=version)
    assert release_of(layout, "v1.2.0-ort-cpu") == ""
    config = layout.add_blob([b"{}"], "application/vnd.oci.empty.v1+json")
    manifest = ImageManifest(artifact_type="application/vnd.example.release", config=config,
                             layers=(config,))  # fmt: skip
    release = layout.write_manifest(encode(manifest), manifest.media_type, ["v1.2.0-release"])
    signature = attach(layout, release, b"signature")
    assert release_of(layout, "v1.2.0-ort-cpu") == "v1.2.0-release"
    names = ["v1.2.0-ort-cpu", "v1.2.0-release"]
    save(layout, names, tmp_path / "app.tar", repository=NAME)
    end = Layout(tmp_path / "end", create=True)
    loaded = copy_images(Archive(tmp_path / "app.tar"), "", end)
    assert {one.digest for one, _ in loaded} == {image.digest, release.digest}
    assert [one.digest for one in end.referrers(Digest(release.digest))] == [signature.digest]
    with tarfile.open(tmp_path / "app.tar") as tar:
        assert len(json.load(tar.extractfile("manifest.json"))) == 1


def test_a_broken_save_goes_on_and_appears_whole(layout, registry, tmp_path):
    for number in range(4):
        add_image(layout, [f"v{number}"], files={"big": noise(MIB, number)})
    names = layout.tags()
    save(layout, names, tmp_path / "right.tar")
    target = Repository(ImageRef(registry.address, "archives/broken"), write=True)
    copy_images(Archive(tmp_path / "right.tar"), "", target)
    once = RegistryOptions(retry=Retry(attempts=1))
    with faulty_proxy(registry.address, cut_answers=[2 * MIB + MIB // 2]) as proxy:
        reference = ImageRef(proxy.address, "archives/broken")
        with pytest.raises(ImageError):
            save(Repository(reference, once), names, tmp_path / "app.tar", workers=1)
        assert not (tmp_path / "app.tar").exists()
        first = proxy.received
        save(Repository(reference, once), names, tmp_path / "app.tar", workers=1)
        assert proxy.received - first < 3 * MIB
    assert (tmp_path / "app.tar").read_bytes() == (tmp_path / "right.tar").read_bytes()
    assert not list(tmp_path.glob(".*"))
    target.close()


def test_leftovers_of_another_archive_do_no_harm(layout, archive, tmp_path):
    size = archive.stat().st_size
    (tmp_path / ".again.tar.partial").write_bytes(os.urandom(size))
    save(layout, ["v1.0.0"], tmp_path / "again.tar", repository=NAME)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_memory_stays_small(layout, tmp_path):
    layer = layout.add_blob((noise(MIB, number) for number in range(48)), LAYER_GZIP)
    config = layout.add_blob([b"{}"], "application/vnd.oci.image.config.v1+json")
    manifest = ImageManifest(config=config, layers=(layer,))
    layout.write_manifest(encode(manifest), manifest.media_type, ["v1"])
    tracemalloc.start()
    try:
        save(layout, ["v1"], tmp_path / "app.tar")
        copy_images(Archive(tmp_path / "app.tar"), "", Layout(tmp_path / "end", create=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.98])
def test_a_cut_archive_says_so(archive, kept):
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageInvalid, match=r"cut short|ends before"):
        Archive(archive)


def test_a_flipped_byte_is_noticed(layout, archive, tmp_path):
    data = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        largest = max(tar.getmembers(), key=lambda one: one.size)
    data[largest.offset_data + 1000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(BlobCorrupt):
        copy_images(Archive(archive), "", Layout(tmp_path / "end", create=True))


def planted(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = planted(tmp_path / "bad.tar", entry("oci-layout"), entry("blobs/sha256/x", kind))
    with pytest.raises(ArchiveUnsafe, match="not a plain file"):
        Archive(path)


def test_names_that_stand_twice_are_refused(tmp_path):
    path = planted(tmp_path / "bad.tar", entry("index.json"), entry("./index.json"))
    with pytest.raises(ArchiveUnsafe, match="twice"):
        Archive(path)


def test_strange_names_lead_nowhere(archive, tmp_path):
    """Nothing is unpacked: a name outside of the layout is a name that nobody asks for."""
    with tarfile.open(archive, "a") as tar:
        tar.addfile(entry("../../evil", size=4), io.BytesIO(b"evil"))
    copy_images(Archive(archive), "", Layout(tmp_path / "a/b/end", create=True))
    assert not list(tmp_path.rglob("evil"))


def test_other_files_are_named(tmp_path, archive):
    import gzip

    (tmp_path / "text.tar").write_text("hello" * 1000)
    (tmp_path / "app.tar.gz").write_bytes(gzip.compress(archive.read_bytes(), 1))
    planted(tmp_path / "empty.tar", entry("something"))
    with pytest.raises(ImageInvalid, match="not a valid tar"):
        Archive(tmp_path / "text.tar")
    with pytest.raises(ImageInvalid, match="compressed with gzip"):
        Archive(tmp_path / "app.tar.gz")
    with pytest.raises(ImageInvalid, match="not an archive of an OCI layout"):
        Archive(tmp_path / "empty.tar")
    with pytest.raises(InputUnreadable, match="missing"):
        Archive(tmp_path / "missing.tar")


def test_a_blob_that_is_not_there(archive):
    opened = Archive(archive)
    blob = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(b"x"), size=1)
    assert not opened.has_blob(Digest(blob.digest))
    with pytest.raises(ImageNotFound):
        list(opened.read_blob(blob))


def test_two_images_need_their_own_tags(layout, tmp_path):
    for number in (1, 2):
        add_image(layout, [f"v{number}"], files={"n": bytes([number])})
    save(layout, ["v1", "v2"], tmp_path / "app.tar")
    opened = Archive(tmp_path / "app.tar")
    with pytest.raises(ImageInvalid, match="2 images"):
        copy_images(opened, "", Layout(tmp_path / "end", create=True), tags=["v3"])
    assert len(copy_images(opened, "", Layout(tmp_path / "end", create=True))) == 2


def rewritten(path: Path, target: Path, **changes: bytes) -> Path:
    """The same archive with other `index.json` or `manifest.json` (`None`: without), and more."""
    names = {"index": "index.json", "list": "manifest.json"}
    fresh = {names.get(key, key): content for key, content in changes.items()}
    with tarfile.open(path) as tar, tarfile.open(target, "w") as written:
        for member in tar:
            content = tar.extractfile(member).read() if member.isreg() else b""
            put(written, member.name, fresh.pop(member.name, content), member.type)
        for name, content in fresh.items():
            put(written, name, content)
    return target


def put(tar: tarfile.TarFile, name: str, content: bytes | None, kind: bytes = tarfile.REGTYPE):
    if content is not None:
        info = tarfile.TarInfo(name)
        info.size, info.type = len(content), kind
        tar.addfile(info, io.BytesIO(content))


def parts(path: Path) -> tuple[dict, list]:
    with tarfile.open(path) as tar:
        return tuple(json.load(tar.extractfile(n)) for n in ("index.json", "manifest.json"))


def blob_names(*contents: bytes) -> dict[str, bytes]:
    return {f"blobs/sha256/{Digest.of(one).hex}": one for one in contents}


@pytest.fixture
def many(layout, archive, tmp_path) -> Path:
    """All that `save` can write: tags, an index, a digest alone, attachments, a release."""
    add_index(layout, ["v2.0.0"])
    config = layout.add_blob([b"{}"], "application/vnd.oci.empty.v1+json")
    manifest = ImageManifest(artifact_type="application/vnd.example.release", config=config,
                             layers=(config,))  # fmt: skip
    layout.write_manifest(encode(manifest), manifest.media_type, ["v1.0.0-release"])
    alone = add_image(layout, files={"alone": b"alone"})
    names = ["v1.0.0", "v2.0.0", "v1.0.0-release", alone.digest]
    save(layout, names, tmp_path / "many.tar", repository=NAME)
    return tmp_path / "many.tar"


def test_what_is_saved_has_no_faults(layout, archive, many, tmp_path):
    save(layout, ["v1.0.0", "v2.0.0"], tmp_path / "nameless.tar")
    for path in (archive, many, tmp_path / "nameless.tar"):
        assert archive_faults(Archive(path)) == []


def test_archives_of_others_have_no_faults(layout, archive, tmp_path, podman: Podman):
    theirs, saved = tmp_path / "theirs.tar", tmp_path / "podman.tar"
    reference = f"oci-archive:{archive}:v1.0.0"
    podman.run("copy", reference, f"oci-archive:{theirs}:example.com/app:v2", tool="skopeo")
    podman.run("copy", reference, f"oci-archive:{tmp_path / 'bare.tar'}", tool="skopeo")
    podman.run("load", "--input", archive)
    podman.run("save", "--format", "oci-archive", "--output", saved, f"{NAME}:v1.0.0")
    for path in (theirs, saved, tmp_path / "bare.tar"):
        assert archive_faults(Archive(path)) == []
    assert len(copy_images(Archive(theirs), "", Layout(tmp_path / "end", create=True))) == 1


def refused(path: Path, tmp_path: Path, *words: str) -> None:
    faults = archive_faults(Archive(path))
    for word in words:
        assert any(word in fault for fault in faults), faults
    end = Layout(tmp_path / "end", create=True)
    with pytest.raises(ArchiveUnsafe, match="get it again from its source"):
        copy_images(Archive(path), "", end)
    assert end.tags() == []
    assert main(["image", "load", str(path), f"oci:{tmp_path / 'never'}"]) != 0
    assert not (tmp_path / "never").exists()


def test_another_image_for_podman_is_refused(archive, tmp_path):
    """The image that `verify` reads is untouched, and `podman load` would run the other one."""
    _, listed = parts(archive)
    evil = blob_names(b'{"rootfs":{}}', b"evil layer")
    listed[0]["Config"], *listed[0]["Layers"] = evil
    path = rewritten(archive, tmp_path / "evil.tar", list=json.dumps(listed).encode(), **evil)
    refused(path, tmp_path, "another image for")


def test_blobs_that_nothing_lists_are_no_fault(archive, tmp_path):
    """Such as a layout has that was built twice, when it is packed with tar."""
    path = rewritten(archive, tmp_path / "more.tar", **blob_names(b"{}", b"an old layer"))
    assert archive_faults(Archive(path)) == []


MORE = {"Config": "c", "Layers": [], "RepoTags": []}


def change_case(listed: list) -> bytes:
    """Programs in Go take the last of both."""
    return json.dumps([{**listed[0], "config": "blobs/sha256/" + "0" * 64}]).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_case, "differently"),
        (lambda listed: b'{"a":1,"a":2}', "differently"),
        (lambda listed: b"[", "not valid JSON"),
        (lambda listed: b"5", "not a list of images"),
        (lambda listed: b"[]", "does not list"),
        (lambda listed: json.dumps([listed[0] | {"RepoTags": ["x/y:v1"]}]).encode(), "'x/y:v1'"),
        (lambda listed: json.dumps([*listed, MORE]).encode(), "another image for 'c'"),
    ],
)  # fmt: skip
def test_every_other_list_is_a_fault(archive, tmp_path, change, words):
    path = rewritten(archive, tmp_path / "evil.tar", list=change(parts(archive)[1]))
    refused(path, tmp_path, words)


def evil_index(layout: Layout, archive: Path, **changes) -> bytes:
    index, _ = parts(archive)
    entry = next(one for one in index["manifests"] if NAME in json.dumps(one))
    index["manifests"].insert(0, json.loads(json.dumps(entry)))
    changed = index["manifests"][0]
    changed["annotations"] |= changes
    return json.dumps(index).encode()


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({}, "twice"),
        ({"org.opencontainers.image.ref.name": "example.com/app:v1.0.0"}, "and its tag is"),
        ({"io.containerd.image.name": f"{NAME}:v9"}, f"'{NAME}:v9', and its tag is 'v1.0.0'"),
        ({"org.opencontainers.image.ref.name": "v3", "io.containerd.image.name": "other/app:v3"},
         "several repositories"),
        ({"org.opencontainers.image.ref.name": ""}, "and its tag is ''"),
    ],
)  # fmt: skip
def test_names_that_save_would_not_give(layout, archive, tmp_path, annotations, words):
    index = evil_index(layout, archive, **annotations)
    refused(rewritten(archive, tmp_path / "evil.tar", index=index), tmp_path, words)


def test_keys_of_the_index_in_another_case_are_refused(archive, tmp_path):
    index, _ = parts(archive)
    index["Manifests"] = []
    path = rewritten(archive, tmp_path / "evil.tar", index=json.dumps(index).encode())
    refused(path, tmp_path, "'Manifests' of index.json")


def test_a_list_for_docker_alone_is_refused(archive, tmp_path):
    path = rewritten(archive, tmp_path / "evil.tar", list=None, repositories=b"{}")
    refused(path, tmp_path, "only docker reads")
    bare = rewritten(archive, tmp_path / "bare.tar", list=None)
    assert archive_faults(Archive(bare)) == []


def test_a_tag_for_two_images_names_none(layout, archive, tmp_path):
    image = layout.resolve("v1.0.0")
    other = add_image(layout, ["v1"], files={"other": b"other"})
    save(layout, ["v1.0.0", "v1"], tmp_path / "two.tar")
    index, _ = parts(tmp_path / "two.tar")
    for one in index["manifests"]:
        one["annotations"] = {"org.opencontainers.image.ref.name": "v1.0.0"}
    path = rewritten(tmp_path / "two.tar", tmp_path / "evil.tar", index=json.dumps(index).encode())
    with pytest.raises(ImageInvalid, match="twice"):
        Archive(path).resolve("v1.0.0")
    assert Archive(path).resolve(image.digest).digest == image.digest
    assert Archive(path).resolve(other.digest).digest == other.digest
    refused(path, tmp_path, "twice")


def test_a_tag_that_looks_like_a_digest_is_none(layout, archive, tmp_path):
    image = layout.resolve("v1.0.0")
    add_image(layout, ["v1"], files={"other": b"other"})
    save(layout, ["v1.0.0", "v1"], tmp_path / "two.tar")
    index, _ = parts(tmp_path / "two.tar")
    entry = next(one for one in index["manifests"] if one["digest"] != image.digest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": image.digest}
    index["manifests"] = [entry, *index["manifests"]]
    path = rewritten(tmp_path / "two.tar", tmp_path / "evil.tar", index=json.dumps(index).encode())
    assert Archive(path).resolve(image.digest).digest == image.digest


def test_names_are_compared_as_they_would_be_unpacked(tmp_path):
    path = planted(tmp_path / "bad.tar", entry("index.json"), entry("x/../index.json"))
    with pytest.raises(ArchiveUnsafe, match="twice"):
        Archive(path)


@pytest.mark.parametrize(
    "pax",
    [
        {"GNU.sparse.map": "a,b"}, {"GNU.sparse.size": "zz"}, {"size": "zz"}, {"size": "-1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
        {"GNU.sparse.major": "0", "GNU.sparse.realsize": "q"}, {"path": "x" * 5000},
        {"comment": "x" * (2 << 20)},
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(capfd, tmp_path, pax):
    with tarfile.open(tmp_path / "bad.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = pax
        tar.addfile(info, io.BytesIO(b""))
    with pytest.raises((ArchiveUnsafe, ImageInvalid)):
        Archive(tmp_path / "bad.tar")
    for words in (["image", "load", "{file}", "oci:{file}.end"], ["audit", "{file}"]):
        assert main([word.format(file=tmp_path / "bad.tar") for word in words]) == 2
        assert "this is a bug" not in capfd.readouterr().err


def test_names_that_programs_read_differently_are_refused(archive, tmp_path):
    """Python takes the one header that renames a file, and Go the other one, or none."""
    long_name, pax = tarfile.TarInfo("././@LongLink"), tarfile.TarInfo("pax")
    long_name.type, pax.type = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE
    evil = entry("x", size=2)
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for info, body in ((pax, b"19 path=oci-layout\n"), (long_name, b"manifest.json\0")):
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        tar.addfile(evil, io.BytesIO(b"[]"))
    with pytest.raises(ArchiveUnsafe, match="two extended headers"):
        Archive(tmp_path / "evil.tar")
    # A global header renames every file, says Python; no container runtime cares.
    with tarfile.open(archive) as tar:
        names = [one.name for one in tar if one.isreg()]
    head = tarfile.TarInfo.create_pax_global_header({"path": "junk"})
    (tmp_path / "global.tar").write_bytes(head + archive.read_bytes())
    assert set(Archive(tmp_path / "global.tar").files) == set(names)


def test_folders_count_as_well(tmp_path):
    header = entry("a", tarfile.DIRTYPE).tobuf()
    (tmp_path / "bad.tar").write_bytes(header * 100_001 + bytes(1024))
    with pytest.raises(ArchiveUnsafe, match="more than 100,000 entries"):
        Archive(tmp_path / "bad.tar")


def test_random_damage_is_an_error_and_no_bug(archive, tmp_path):
    data, chance = archive.read_bytes(), random.Random(7)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 20)):
            transport = chance.choice([chance.randrange(4096), chance.randrange(len(data))])
            damaged[transport] = chance.randrange(256)
        (tmp_path / "bad.tar").write_bytes(damaged)
        try:
            archive_faults(Archive(tmp_path / "bad.tar"))
        except (ArchiveUnsafe, ImageInvalid):
            continue
