"""Layers merged into one tree, also when they were made to do harm."""

import io
import random
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from enginecrate.errors import ArchiveUnsafe, BlobCorrupt, ImageInvalid
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.formats.tar_stream import Limits
from enginecrate.image.reading.filesystem import Content, Entry, Filesystem, read_filesystem
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest
from layered_images import (
    Item,
    add_image,
    compress,
    folder,
    hardlink,
    make_image,
    open_image,
    symlink,
    tar_of,
)


def merged(path: Path, *layers: Any, **facts: Any) -> Filesystem:
    return read_filesystem(*make_image(path, *layers, **facts))


def paths(filesystem: Filesystem) -> list[str]:
    return [entry.path for entry in filesystem]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "tar"])
def test_every_kind_of_entry(tmp_path: Path, compression: str):
    long = "/".join(["folder" * 20] * 3) + "/file"
    filesystem = merged(
        tmp_path,
        [
            folder("./etc/", 0o1777, uid=7),
            Item("etc/hosts", b"hosts", 0o4755, 65532, 70000),
            hardlink("etc/same", "etc/hosts"),
            symlink("etc/mtab", "../proc/mounts"),
            Item("dev/null", type=tarfile.CHRTYPE),
            Item("pipe", type=tarfile.FIFOTYPE),
            Item(long, b"x" * 700, pax={"SCHILY.xattr.security.capability": "\1\2"}),
        ],
        compression=compression,
    )
    found = {entry.path: entry for entry in filesystem}
    hosts = found["etc/hosts"]
    assert (hosts.kind, hosts.mode, hosts.uid, hosts.gid, hosts.size) == (
        "file", 0o4755, 65532, 70000, 5,
    )  # fmt: skip
    assert (found["etc"].kind, found["etc"].mode, found["etc"].uid) == ("folder", 0o1777, 7)
    assert found["etc/same"].inode == hosts.inode
    assert (found["etc/mtab"].kind, found["etc/mtab"].target) == ("symlink", "../proc/mounts")
    assert (found["dev/null"].kind, found["pipe"].kind) == ("device", "pipe")
    assert found[long].size == 700
    assert found[long].xattrs == {"security.capability": b"\1\2"}
    assert paths(filesystem) == sorted(found, key=lambda path: path.split("/"))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_other_dialects_of_tar(tmp_path: Path, form: int):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name in ("a" * 90 + "/" + "b" * 90, "c/" * 20 + "d"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    filesystem = merged(tmp_path, compress(buffer.getvalue()), compression="tar")
    assert {entry.path for entry in filesystem if entry.kind == "file"} == {
        "a" * 90 + "/" + "b" * 90,
        "c/" * 20 + "d",
    }


@pytest.mark.parametrize(
    ("records", "good"), [(b"9 uid=70\n", True), (b"19 path=other/file\n", False)]
)
def test_headers_of_pax_beside_those_of_gnu(tmp_path: Path, records: bytes, good: bool):
    """Some writers give the long name in GNU's way and large numbers in that of pax."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind, body in (
            (tarfile.XHDTYPE, records),
            (tarfile.GNUTYPE_LONGNAME, b"long/name\0"),
            (tarfile.REGTYPE, b"abc"),
        ):
            info = tarfile.TarInfo("x")
            info.type, info.size = kind, len(body)
            tar.addfile(info, io.BytesIO(body))
    if not good:
        with pytest.raises(ArchiveUnsafe, match="two extended headers"):
            merged(tmp_path, compress(buffer.getvalue()), compression="tar")
        return
    found = merged(tmp_path, compress(buffer.getvalue()), compression="tar").get("long/name")
    assert found is not None
    assert found.uid == 70


def test_whiteouts_and_opaque_folders_hide_lower_layers_alone(tmp_path: Path):
    filesystem = merged(
        tmp_path,
        [Item("a/one", b"1"), Item("a/two", b"2"), Item("b/three", b"3"), Item("c/d/four", b"4")],
        # Their order inside of a layer means nothing.
        [Item("b/new", b"n"), Item("b/.wh..wh..opq"), Item("a/.wh.one"), Item(".wh.c")],
        [Item("a/one", b"again"), Item("a/.wh.one"), Item("a/.wh.absent"), Item(".wh..wh.plnk")],
    )
    assert paths(filesystem) == ["a", "a/one", "a/two", "b", "b/new"]
    assert [(one.entry.path, one.by) for one in filesystem.hidden] == [
        ("b/three", 1),
        ("a/one", 1),
        ("c/d/four", 1),
    ]
    again = filesystem.get("a/one")
    assert again is not None
    assert (again.layer, again.size) == (2, 5)


def test_later_entries_replace_earlier_ones(tmp_path: Path):
    filesystem = merged(
        tmp_path,
        [Item("file", b"1"), Item("folder/inside", b"2"), folder("kept", 0o700), Item("kept/x")],
        [folder("file"), Item("folder", b"now a file"), folder("kept", 0o755)],
    )
    kinds = {entry.path: (entry.kind, entry.mode) for entry in filesystem}
    assert kinds == {
        "file": ("folder", 0o755),
        "folder": ("file", 0o644),
        "kept": ("folder", 0o755),
        "kept/x": ("file", 0o644),
    }


def test_links_are_followed_inside_of_the_root_alone(tmp_path: Path):
    filesystem = merged(
        tmp_path,
        [Item("usr/lib/libc.so", b"c"), symlink("lib", "usr/lib"), symlink("up", "../../../usr")],
        [
            Item("lib/added", b"through the link"),
            symlink("usr/lib/absolute", "/usr/lib/libc.so"),
            symlink("circle", "circle"),
            symlink("nowhere", "missing/file"),
        ],
    )

    def leads_to(path: str) -> str | None:
        entry = filesystem.resolve(path)
        return entry and entry.path

    assert leads_to("lib/added") == "usr/lib/added"
    assert leads_to("/lib/absolute") == "usr/lib/libc.so"
    assert leads_to("up/lib/libc.so") == "usr/lib/libc.so"
    assert [leads_to(path) for path in ("circle", "nowhere", "lib/libc.so/x")] == [None] * 3
    link = filesystem.get("lib")
    assert link is not None
    assert link.kind == "symlink"
    assert [entry.path for entry in filesystem.below("usr/lib")] == [
        "usr/lib/absolute", "usr/lib/added", "usr/lib/libc.so",
    ]  # fmt: skip


def test_contents_come_by_stream_once_for_all_hard_links(tmp_path: Path):
    seen: list[tuple[str, bytes]] = []

    def look(entry: Entry, content: Content) -> None:
        seen.append((entry.path, content.read(3) + content.read()))

    layout, manifest = make_image(
        tmp_path, [Item("a", b"content a"), hardlink("b", "a")], [Item("c", b"content c" * 99999)]
    )
    filesystem = read_filesystem(layout, manifest, observe=look)
    assert seen == [("a", b"content a"), ("c", b"content c" * 99999)]
    read = [
        ([entry.path for entry in entries], len(content.read()))
        for entries, content in filesystem.read_files(filesystem)
    ]
    assert read == [(["a", "b"], 9), (["c"], 9 * 99999)]
    digests = filesystem.digests([entry for entry in filesystem if entry.path != "c"])
    assert digests == {"a": Digest.of(b"content a"), "b": Digest.of(b"content a")}


def test_a_hard_link_keeps_removed_bytes_visible(tmp_path: Path):
    filesystem = merged(
        tmp_path, [Item("a", b"x"), hardlink("b", "a"), Item("gone", b"y")],
        [Item(".wh.a"), Item(".wh.gone")],
    )  # fmt: skip
    states = {one.entry.path: filesystem.is_visible(one.entry) for one in filesystem.hidden}
    assert states == {"a": True, "gone": False}


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([Item("../etc/passwd", b"x")], r"layer 1 has the path '\.\./etc/passwd'"),
        ([Item("a/../../b", b"x")], "leads out"),
        ([hardlink("a", "../../etc/shadow")], "leads out"),
        ([symlink("a", "b"), symlink("b", "a"), Item("a/x")], "circle"),
        ([Item("a/" * 300 + "b")], "path of"),
        ([Item("a" * 5000)], "path of"),
        ([Item("a", pax={"comment": "x" * (2 << 20)})], "header of"),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, items: list[Item], words: str):
    with pytest.raises(ArchiveUnsafe, match=words):
        merged(tmp_path, items)


def test_a_link_never_leads_out_of_the_image(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    filesystem = merged(
        tmp_path / "image", [symlink("way", f"../../../..{outside}")], [Item("way/file", b"x")]
    )
    assert list(outside.iterdir()) == []
    assert paths(filesystem)[-2:] == [str(outside / "file").lstrip("/"), "way"]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([hardlink("a", "missing")], "hard link to 'missing'"),
        ([folder("f"), hardlink("a", "f")], "hard link"),
        ([Item("a", b"x"), Item("a/b", b"y")], "inside of 'a'"),
        ([Item("a", type=b"Z")], "unknown type"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, items: list[Item], words: str):
    with pytest.raises(ImageInvalid, match=words):
        merged(tmp_path, items)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "tar"])
@pytest.mark.parametrize("part", [0.1, 0.6, 0.8])
def test_a_layer_that_ends_early_is_refused(tmp_path: Path, compression: str, part: float):
    noise = random.Random(0).randbytes(30000)
    whole = compress(tar_of([Item("a", noise), Item("b", noise[::-1])]), compression)
    with pytest.raises(ImageInvalid, match=r"ends before|cannot be decompressed"):
        merged(tmp_path, whole[: int(len(whole) * part)], compression=compression)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "tar"])
def test_damaged_compression_and_headers_are_refused(tmp_path: Path, compression: str):
    noise = random.Random(0).randbytes(5000)
    whole = bytearray(compress(tar_of([Item("a", noise)]), compression))
    for position in range(20, len(whole) // 2, 7):
        whole[position] ^= 0x55
    with pytest.raises(ImageInvalid, match="layer"):
        merged(tmp_path, bytes(whole), compression=compression)


def test_a_blob_that_is_not_its_digest_is_refused(tmp_path: Path):
    layout, manifest = make_image(tmp_path, [Item("a", b"abc")], compression="tar")
    path = layout.blob_path(digest_of(manifest.layers[0]))
    # In the padding at the end, which no tar reader looks at.
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BlobCorrupt):
        read_filesystem(layout, manifest)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_fills_anything(tmp_path: Path, compression: str):
    bomb = compress(tar_of([Item("zeros", bytes(8 << 20))]), compression)
    layout, manifest = make_image(tmp_path, bomb, compression=compression)
    with pytest.raises(ArchiveUnsafe, match="bomb"):
        read_filesystem(layout, manifest, limits=Limits(ratio=50, ratio_from=1 << 20))
    with pytest.raises(ArchiveUnsafe, match="bomb"):
        read_filesystem(layout, manifest, limits=Limits(unpacked_bytes=1 << 20))
    assert len(list(read_filesystem(layout, manifest))) == 1


@pytest.mark.parametrize(
    "layers",
    [
        [[Item(f"file{number}") for number in range(30)]] * 4,
        [[Item("x/" * 60 + f"{number}/file") for number in range(41)]],
    ],
    ids=["headers", "folders that nothing names"],
)
def test_too_many_entries_are_refused(tmp_path: Path, layers: list[list[Item]]):
    layout, manifest = make_image(tmp_path, *layers)
    with pytest.raises(ArchiveUnsafe, match="more than 100 entries"):
        read_filesystem(layout, manifest, limits=Limits(entries=100))


def test_deep_folders_through_links_and_long_names_are_refused(tmp_path: Path):
    deep = "d/" * 200
    layers = [Item(deep + "x"), symlink("s", deep), Item("s/" + deep + "y")]
    with pytest.raises(ArchiveUnsafe, match="deeper than 256"):
        merged(tmp_path / "deep", layers)
    layout, manifest = make_image(tmp_path / "long", [Item(f"{n}" * 90) for n in range(9)])
    with pytest.raises(ArchiveUnsafe, match="more than 500 bytes"):
        read_filesystem(layout, manifest, limits=Limits(text_bytes=500))


def test_frames_of_zstd_chunked_are_read(tmp_path: Path):
    halves = tar_of([Item("a", b"x" * 4000)])
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"note"
    blob = b"".join(
        [skippable, zstandard.compress(halves[:1000]), zstandard.compress(halves[1000:]), skippable]
    )
    assert paths(merged(tmp_path, blob, compression="zstd")) == ["a"]


@pytest.mark.parametrize("offset", [0, 100, 148, 265], ids=["name", "mode", "checksum", "owner"])
def test_a_header_whose_checksum_is_wrong_is_refused(tmp_path: Path, offset: int):
    tar = bytearray(tar_of([Item("a", b"1"), Item("b", b"2")]))
    tar[1024 + offset] ^= 1
    with pytest.raises(ImageInvalid, match="checksum does not match"):
        merged(tmp_path, bytes(tar), compression="tar")


def test_names_that_are_not_utf8_stay_printable(tmp_path: Path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(b"caf\xe9".decode("utf-8", "surrogateescape")))
    assert paths(merged(tmp_path, buffer.getvalue(), compression="tar")) == ["caf\\xe9"]


def test_layers_can_be_left_out_and_progress_counts_compressed_bytes(tmp_path: Path):
    layout = Layout(tmp_path, create=True)
    add_image(layout, [[Item("a", b"1")], b"not a layer", [Item("c", b"3")]])
    manifest = open_image(layout)
    steps: list[tuple[int, int]] = []
    filesystem = read_filesystem(
        layout, manifest, skip={1}, progress=lambda step, done, total: steps.append((done, total))
    )
    size = manifest.layers[0].size + manifest.layers[2].size
    assert [entry.layer for entry in filesystem] == [0, 2]
    assert steps[-1] == (size, size)
