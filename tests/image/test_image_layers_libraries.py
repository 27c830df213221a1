"""An image that lacks a shared library is refused before it is written."""

import platform
from pathlib import Path

import PIL
import pytest

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Entry, Link, RegularFile
from enginecrate.image.layers.files import BytesContents, EntryContents
from enginecrate.image.layers.libraries import MissingLibrary, check_libraries, missing_libraries

SITE = "opt/enginecrate/lib"
PILLOW = Path(PIL.__file__).parent
SYSTEM = f"usr/lib/{platform.machine()}-linux-gnu"


def libc() -> BytesContents:
    names = ("libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0",
             "librt.so.1", "libstdc++.so.6", "libz.so.1", "ld-linux-x86-64.so.2")  # fmt: skip
    return BytesContents("libc", {f"{SYSTEM}/{name}": b"" for name in names})


def imaging() -> RegularFile:
    (path,) = PILLOW.glob("_imaging.*.so")
    return RegularFile(f"{SITE}/PIL/{path.name}", path)


def beside() -> list[Entry]:
    """The libraries that Pillow's wheel brings, found by its RUNPATH."""
    return [
        RegularFile(f"{SITE}/pillow.libs/{path.name}", path)
        for path in sorted((PILLOW.parent / "pillow.libs").iterdir())
    ]


def test_a_complete_image_lacks_nothing():
    check_libraries([libc(), EntryContents("pillow", [imaging(), *beside()])])


def test_what_is_missing_is_named():
    missing = missing_libraries([libc(), EntryContents("pillow", [imaging()])])
    assert any(one.soname.startswith("libjpeg") for one in missing)
    assert {one.file for one in missing} == {imaging().path}
    with pytest.raises(RecipeInvalid, match=r"PIL/_imaging\S+ needs lib\S+.*; add the packages"):
        check_libraries([libc(), EntryContents("pillow", [imaging()])])


def test_what_the_host_brings_is_not_missing():
    names = [one.soname for one in missing_libraries([EntryContents("pillow", [imaging()])])]
    assert missing_libraries([EntryContents("pillow", [imaging()])], outside=names) == []


def test_links_are_followed_and_loops_end():
    real = imaging()
    chain = [Link(f"{SYSTEM}/libc.so.6", "libc-2.so"), Link(f"{SYSTEM}/libc-2.so", "libc.so.6")]
    loops = missing_libraries([EntryContents("loop", [real, *beside(), *chain])])
    assert MissingLibrary(real.path, "libc.so.6") in loops
    good = [
        Link(f"{SYSTEM}/libc.so.6", "../libc-2.so"),
        RegularFile("usr/lib/libc-2.so", b""),
    ]
    found = missing_libraries([EntryContents("good", [real, *beside(), *good])])
    assert MissingLibrary(real.path, "libc.so.6") not in found


def test_a_damaged_library_is_refused():
    data = b"\x7fELF\x02\x01\x01" + b"\xff" * 200
    with pytest.raises(RecipeInvalid, match=r"usr/lib/bad\.so is a damaged"):
        check_libraries([BytesContents("bad", {"usr/lib/bad.so": data})])
