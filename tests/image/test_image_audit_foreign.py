"""Images that others made: a whole Debian with tools, and an image of very many files."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from enginecrate.image.audit.audit import audit_image
from enginecrate.image.transports.layout import Layout
from layered_images import Item, add_image, compress, tar_of
from peak_memory import PEAK_KILOBYTES

PACKAGES = "python3-minimal,openssh-server,gcc,curl,sudo,cron,ca-certificates"


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_whole_debian_with_tools(tmp_path: Path):
    root = tmp_path / "debian.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root],
        check=True, capture_output=True, timeout=500,
    )  # fmt: skip
    layout = Layout(tmp_path / "layout", create=True)
    add_image(layout, [compress(root.read_bytes(), "zstd")], tag="v1.0.0", compression="zstd")
    root.unlink()
    findings = audit_image(layout, "v1.0.0").findings
    found = {(one.rule, one.path) for one in findings}
    assert {
        ("EC-IMG-010", "usr/bin/passwd"),
        ("EC-IMG-010", "usr/bin/sudo"),
        ("EC-IMG-020", "usr/bin/bash"),
        ("EC-IMG-020", "usr/bin/dash"),
        ("EC-IMG-021", "usr/bin/apt"),
        ("EC-IMG-021", "usr/bin/dpkg"),
        ("EC-IMG-022", "usr/bin/x86_64-linux-gnu-gcc-12"),
        ("EC-IMG-024", "usr/sbin/sshd"),
        ("EC-IMG-025", "usr/bin/ssh"),
        ("EC-IMG-026", "etc/ssh/ssh_host_ed25519_key"),
        ("EC-IMG-027", "usr/bin/su"),
        ("EC-IMG-028", "usr/sbin/cron"),
        ("EC-IMG-029", "usr/bin/curl"),
    } <= found
    rules = {one.rule for one in findings}
    # Nobody put a secret in, it has certificates and zones, and scanners find its packages.
    assert not rules & {f"EC-IMG-03{digit}" for digit in range(10)}
    assert not rules & {"EC-IMG-060", "EC-IMG-061", "EC-IMG-062", "EC-IMG-012"}


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_million_entries_are_bounded_in_memory(tmp_path: Path):
    layout = Layout(tmp_path, create=True)
    header = tar_of([Item("f0000000")])[:512]
    write_many(tmp_path / "many.tar", header, 1_000_001)
    blob = compress((tmp_path / "many.tar").read_bytes(), "zstd")
    (tmp_path / "many.tar").unlink()
    add_image(layout, [blob], tag="v1.0.0", compression="zstd")
    script = (
        f"{PEAK_KILOBYTES}\n"
        "from pathlib import Path\n"
        "from enginecrate.errors import ArchiveUnsafe\n"
        "from enginecrate.image.audit.audit import audit_image\n"
        "from enginecrate.image.transports.layout import Layout\n"
        "try:\n"
        f"    audit_image(Layout(Path({str(tmp_path)!r})), 'v1.0.0')\n"
        "except ArchiveUnsafe as exc:\n"
        "    print(exc, peak_kilobytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    words, _, kilobytes = done.stdout.strip().rpartition(" ")
    assert "more than 1,000,000 entries" in words
    assert int(kilobytes) < 1_000_000


def write_many(file: Path, header: bytes, count: int) -> None:
    """A tar with this many empty files, each with a name of its own."""
    with file.open("wb") as tar:
        for number in range(count):
            block = bytearray(header)
            block[:8] = b"f%07d" % number
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
            tar.write(block)
        tar.write(bytes(1024))


def test_the_large_tar_of_the_test_above_is_a_tar(tmp_path: Path):
    write_many(tmp_path / "few.tar", tar_of([Item("f0000000")])[:512], 20)
    with tarfile.open(tmp_path / "few.tar") as tar:
        assert tar.getnames()[19] == "f0000019"
