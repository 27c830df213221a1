"""Debian packages are unpacked without dpkg: only what an image may hold, and nothing unsafe."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from layer_tools import (
    PACKERS,
    member,
    open_deb,
    open_layer,
    pack_ar,
    pack_tar,
    paths,
    read,
    write,
    write_deb,
)

from enginecrate.errors import ArchiveUnsafe, ArtifactChanged, RecipeInvalid
from enginecrate.image.layers.base_files import BaseFiles
from enginecrate.image.layers.entries import Link, RegularFile
from enginecrate.image.layers.packages.ca_bundle import CA_BUNDLE, CaBundle
from enginecrate.image.layers.packages.dpkg import DpkgDatabase
from enginecrate.image.layers.packages.exclusions import default_exclusions
from enginecrate.image.transports.layout import Layout

SYMLINK, HARDLINK = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("packing", PACKERS)
def test_every_compression_of_packages(tmp_path: Path, packing: str):
    big = bytes(range(256)) * 20_000
    deb = write_deb(
        tmp_path, member("./usr/lib/libx.so.1", big), member("./etc/x", b"1"), packing=packing
    )
    assert read(deb, "usr/lib/libx.so.1") == big
    assert read(deb, "etc/x") == b"1"
    assert deb.control["control"].startswith(b"Package: demo")


def test_what_an_image_must_not_hold_is_left_out(tmp_path: Path):
    names = [
        "bin/sh", "usr/bin/dpkg", "sbin/ldconfig", "usr/bin/python3.11", "usr/lib/apt/methods/http",
        "usr/share/doc/demo/copyright", "usr/share/doc/demo/README", "usr/share/man/man1/x.1.gz",
        "usr/share/locale/de/x.mo", "usr/share/lintian/overrides/x", "etc/init.d/x",
        "usr/share/bash-completion/x", "lib/x86_64-linux-gnu/libx.so.1",
    ]  # fmt: skip
    deb = write_deb(tmp_path, *(member(f"./{name}", b"x") for name in names))
    assert paths(deb) == {
        "usr/bin/python3.11",
        "usr/share/doc/demo/copyright",
        "usr/lib/x86_64-linux-gnu/libx.so.1",
    }
    assert deb.left_out("usr/bin/dash").startswith("no shell")
    assert not deb.left_out("etc/x")


def test_folders_of_what_is_left_out_go_too(tmp_path: Path):
    folders = (member(f"./usr/share/man{x}", type=tarfile.DIRTYPE) for x in ("", "/man1"))
    deb = write_deb(tmp_path, *folders, member("./usr/share/man/man1/x.1", b"x"))
    assert paths(deb) == set()


def test_modes_owners_and_times_of_the_package_do_not_count(tmp_path: Path):
    facts = {"mode": 0o6755, "uid": 5, "gid": 42, "uname": "shadow", "mtime": 9}
    deb = write_deb(
        tmp_path,
        member("./usr/lib/tool", b"x", **facts),
        member("./var/mail", type=tarfile.DIRTYPE, **{**facts, "mode": 0o2777}),
        member("./etc/readable", b"x", mode=0o666),
    )
    layout = Layout(tmp_path / "layout", create=True)
    with open_layer(layout, write(layout, deb)) as tar:
        modes = {one.name: (one.mode, one.uid, one.gid) for one in tar if "/" in one.name}
    assert modes == {
        "usr/lib": (0o755, 0, 0),
        "usr/lib/tool": (0o755, 0, 0),
        "var/mail": (0o755, 0, 0),
        "etc/readable": (0o644, 0, 0),
    }


def test_the_merged_usr(tmp_path: Path):
    deb = write_deb(
        tmp_path,
        member("./lib", type=SYMLINK, linkname="usr/lib"),
        member("./lib/x86_64-linux-gnu/ld.so.2", b"x", mode=0o755),
        member("./lib64/ld.so.2", type=SYMLINK, linkname="/lib/x86_64-linux-gnu/ld.so.2"),
        member("./usr/lib/libz.so", type=SYMLINK, linkname="x86_64-linux-gnu/ld.so.2"),
        member("./usr/share/zone", type=SYMLINK, linkname="../../lib/x"),
    )
    found = {one.path: one for one in deb.entries()}
    assert isinstance(found["usr/lib/x86_64-linux-gnu/ld.so.2"], RegularFile)
    assert found["usr/lib64/ld.so.2"] == Link(
        "usr/lib64/ld.so.2", "../lib/x86_64-linux-gnu/ld.so.2"
    )
    assert found["usr/lib/libz.so"] == Link("usr/lib/libz.so", "x86_64-linux-gnu/ld.so.2")
    assert found["usr/share/zone"] == Link("usr/share/zone", "../lib/x")
    assert len(found) == 4


def test_hard_links_become_files(tmp_path: Path):
    deb = write_deb(
        tmp_path,
        member("./usr/share/zoneinfo/UTC", b"TZif", mode=0o755),
        member("./usr/share/zoneinfo/Etc/UTC", type=HARDLINK, linkname="./usr/share/zoneinfo/UTC"),
    )
    assert read(deb, "usr/share/zoneinfo/Etc/UTC") == b"TZif"


MALICIOUS: dict[str, tarfile.TarInfo] = {
    "climbs": member("./usr/../../etc/x")[0],
    "absolute": member("/etc/x")[0],
    "device": member("./dev/sda", type=tarfile.BLKTYPE)[0],
    "terminal": member("./dev/tty", type=tarfile.CHRTYPE)[0],
    "pipe": member("./run/fifo", type=tarfile.FIFOTYPE)[0],
    "link out": member("./etc/x", type=SYMLINK, linkname="../../root")[0],
    "empty link": member("./etc/x", type=SYMLINK, linkname="")[0],
    "hard link out": member("./etc/x", type=HARDLINK, linkname="../../etc/shadow")[0],
    "hard link to nothing": member("./etc/x", type=HARDLINK, linkname="./etc/shadow")[0],
    "line break": member("./etc/x\ny")[0],
    "backslash": member("./etc\\x")[0],
}


@pytest.mark.parametrize("which", MALICIOUS)
def test_malicious_members_are_refused(tmp_path: Path, which: str):
    layout = Layout(tmp_path / "layout", create=True)
    deb = write_deb(tmp_path, (MALICIOUS[which], b""))
    with pytest.raises(ArchiveUnsafe, match=r"demo 1\.0 holds"):
        write(layout, deb)
    assert not list(layout.folder.rglob("blobs/sha256/*"))


def test_a_file_below_a_link_is_refused(tmp_path: Path):
    deb = write_deb(
        tmp_path,
        member("./opt/a", type=SYMLINK, linkname="/etc"),
        member("./opt/a/passwd", b"x"),
    )
    with pytest.raises(RecipeInvalid, match="needs the folder opt/a"):
        write(Layout(tmp_path / "layout", create=True), deb)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    deb = write_deb(tmp_path, member("./zeros", bytes(8 << 20)))
    assert deb.path.stat().st_size < 10_000
    monkeypatch.setattr("enginecrate.image.layers.packages.deb_archive._LIMIT", 4 << 20)
    with pytest.raises(ArchiveUnsafe, match="unpacks to more than 4 MiB"):
        list(deb.entries())


def damaged() -> dict[str, Callable[[bytes], bytes]]:
    tar = gzip.compress(pack_tar([member("./x", b"x")]))
    return {
        "not ar": lambda data: b"PK" + data,
        "cut short": lambda data: data[:-40],
        "damaged header": lambda data: data.replace(b"control.tar", b"contr\xffl.tar", 1),
        "damaged size": lambda data: data.replace(b"`\n", b"``", 1),
        "damaged data": lambda data: data[:-30] + bytes(30),
        "no data": lambda data: pack_ar([("debian-binary", b""), ("control.tar.gz", tar)]),
        "unknown": lambda data: pack_ar([("control.tar.gz", tar), ("data.tar.rar", tar)]),
        "many": lambda data: pack_ar([("control.tar.gz", tar)] * 40),
        "no tar": lambda data: pack_ar([
            ("control.tar.gz", tar), ("data.tar.gz", gzip.compress(b"x" * 2000))
        ]),
    }  # fmt: skip


@pytest.mark.parametrize("which", damaged())
@pytest.mark.parametrize("packing", [".xz", ".gz", ".zst"])
def test_damaged_packages_name_themselves(tmp_path: Path, which: str, packing: str):
    data = write_deb(tmp_path, member("./x", b"x" * 4000), packing=packing).path.read_bytes()
    deb = open_deb(tmp_path / "bad_1.0_amd64.deb", damaged()[which](data))
    with pytest.raises(ArchiveUnsafe, match=r"bad_1\.0_amd64\.deb is not a sound"):
        list(deb.entries())


def test_another_file_than_the_locked_one(tmp_path: Path):
    deb = write_deb(tmp_path, member("./x", b"x"))
    deb.path.write_bytes(deb.path.read_bytes() + b"\n")
    with pytest.raises(ArtifactChanged, match=r"demo_1.0_amd64.deb .* locked for demo 1\.0"):
        list(deb.entries())


def test_the_database_lists_what_is_there(tmp_path: Path):
    control = "Package: libx\nVersion: 1.0\nArchitecture: amd64\nMulti-Arch: same\n"
    sums = "0" * 32 + "  lib/libx.so\n" + "1" * 32 + "  usr/share/man/x.1\n"
    members = [member("./lib/libx.so", b"x"), member("./usr/share/man/x.1", b"x")]
    libx = write_deb(tmp_path, *members, name="libx", control=control, md5sums=sums)
    demo = write_deb(tmp_path, member("./etc/demo", b"x"))
    one, two = DpkgDatabase([libx, demo]), DpkgDatabase([demo, libx])
    files = {entry.path: entry.read() for entry in one.entries() if isinstance(entry, RegularFile)}
    status = files["var/lib/dpkg/status"].decode()
    assert status.startswith("Package: demo\nStatus: install ok installed\nVersion: 1.0\n")
    assert "\n\nPackage: libx\nStatus: install ok installed\n" in status
    assert files["var/lib/dpkg/info/libx:amd64.list"] == b"/.\n/usr/lib/libx.so\n"
    assert files["var/lib/dpkg/info/libx:amd64.md5sums"] == b"0" * 32 + b"  usr/lib/libx.so\n"
    assert files["var/lib/dpkg/info/demo.list"] == b"/.\n/etc/demo\n"
    assert one.key == two.key
    assert list(one.entries()) == list(two.entries())


def test_the_bundle_of_certificates(tmp_path: Path):
    transport = "./usr/share/ca-certificates/mozilla"
    deb = write_deb(
        tmp_path,
        member(f"{transport}/b.crt", b"B"),
        member(f"{transport}/a.crt", b"A\n\n"),
        member(f"{transport}/README", b"no"),
        name="ca-certificates",
    )
    assert read(CaBundle.among([deb]), CA_BUNDLE) == b"A\nB\n"
    assert paths(deb) == set()
    with pytest.raises(RecipeInvalid, match="no package ca-certificates"):
        CaBundle.among([])
    empty = write_deb(tmp_path, name="ca-certificates")
    with pytest.raises(RecipeInvalid, match="holds no certificates"):
        list(CaBundle(empty).entries())


def test_base_files(tmp_path: Path):
    layout = Layout(tmp_path / "layout", create=True)
    with open_layer(layout, write(layout, BaseFiles(lib64=True))) as tar:
        links = {one.name: one.linkname for one in tar if one.issym()}
        passwd = io.TextIOWrapper(tar.extractfile("etc/passwd")).read()
        modes = {one.name: one.mode for one in tar if one.isdir() and one.mode != 0o755}
    assert links.items() >= {"lib": "usr/lib", "lib64": "usr/lib64", "bin": "usr/bin"}.items()
    assert "nonroot:x:65532:65532:" in passwd
    assert modes == {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
    assert "lib64" not in paths(BaseFiles(lib64=False))


def test_every_rule_says_why():
    for rule in default_exclusions().rules:
        assert len(rule.reason) > 10
        assert rule.keep or rule.leave_out
