"""Wheels are installed without pip: every byte checked, tests and tools left out."""

import csv
import hashlib
import io
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from layer_tools import open_wheel, paths, read, write, write_wheel

import enginecrate
from enginecrate.errors import ArchiveUnsafe, ArtifactChanged
from enginecrate.image.layers.entries import Contents, RegularFile
from enginecrate.image.layers.packages.exclusions import default_exclusions
from enginecrate.image.layers.packages.own_package import OwnPackage
from enginecrate.image.layers.packages.record import SITE, sha256_text
from enginecrate.image.layers.packages.wheels import WheelContents
from enginecrate.image.transports.layout import Layout

INFO = f"{SITE}/demo-1.0.dist-info"


def rows(contents: Contents, path: str) -> dict[str, tuple[str, str]]:
    text = io.StringIO(read(contents, path).decode())
    return {name: (digest, size) for name, digest, size in csv.reader(text)}


def test_files_go_where_python_looks(tmp_path: Path):
    wheel = write_wheel(tmp_path, {
        "demo/__init__.py": b"x = 1\n",
        "demo-1.0.data/purelib/demo_pure.py": b"p",
        "demo-1.0.data/platlib/demo_plat.so": b"so",
        "demo-1.0.data/scripts/demo": b"#!python\n",
        "demo-1.0.data/headers/demo.h": b"h",
        "demo-1.0.data/data/lib/libdemo.so.1": b"l",
        "demo-1.0.data/data/share/man/demo.1": b"m",
        "demo-1.0.dist-info/licenses/LICENSE": b"free",
    })  # fmt: skip
    assert paths(wheel) == {
        f"{SITE}/demo/__init__.py", f"{SITE}/demo_pure.py", f"{SITE}/demo_plat.so",
        f"{SITE}/libdemo.so.1", f"{INFO}/licenses/LICENSE", f"{INFO}/METADATA", f"{INFO}/WHEEL",
        f"{INFO}/RECORD", f"{INFO}/INSTALLER",
    }  # fmt: skip


def test_record_lists_what_is_there(tmp_path: Path):
    wheel = write_wheel(tmp_path, {"demo.py": b"x", "tests/test_demo.py": b"y", "demo.pyi": b"z"})
    listed = rows(wheel, f"{INFO}/RECORD")
    there = {path.removeprefix(f"{SITE}/") for path in paths(wheel)}
    assert set(listed) == there
    assert listed["demo.py"] == (sha256_text(hashlib.sha256(b"x").digest()), "1")
    assert listed["demo-1.0.dist-info/RECORD"] == ("", "")
    left_out = {name: reason for name, _, reason in wheel.left_out()}
    assert left_out.keys() == {"tests/test_demo.py", "demo.pyi"}


@pytest.mark.parametrize(
    ("package", "path", "kept"),
    [
        ("numpy", "numpy/_core/tests/test_umath.py", False),
        ("numpy", "numpy/testing/_private/utils.py", True),
        ("numpy", "numpy/f2py/f2py2e.py", False),
        ("onnx", "onnx/backend/test/data/x.pb", False),
        ("onnx", "onnx/helper.py", True),
        ("onnxruntime", "onnxruntime/quantization/quantize.py", False),
        ("onnxruntime-gpu", "onnxruntime/capi/libonnxruntime.so.1.32.0", False),
        ("onnxruntime-gpu", "onnxruntime/capi/libonnxruntime_providers_cuda.so", True),
        ("onnxruntime-gpu", "onnxruntime/capi/libonnxruntime_providers_tensorrt.so", False),
        ("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc.so.13", True),
        ("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc-builtins.so.13.0", True),
        ("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc.alt.so.13", False),
        ("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc-builtins.alt.so.13.0", False),
        ("demo", "demo/backend/test/data/x.pb", True),
        ("demo", "demo/__pycache__/x.cpython-311.pyc", False),
        ("demo", "demo/fast.pyx", False),
        ("demo", "demo-1.0.dist-info/licenses/tests/x.c", True),
    ],
)
def test_rules(package: str, path: str, *, kept: bool):
    assert (default_exclusions().reason("wheel", package, path) == "") is kept


def test_bytes_that_are_not_those_of_record(tmp_path: Path):
    wheel = write_wheel(tmp_path, {"demo.py": b"evil"}, record={"demo.py": b"good"})
    with pytest.raises(ArchiveUnsafe, match=r"demo\.py: its bytes are not those that RECORD lists"):
        write(Layout(tmp_path / "layout", create=True), wheel)


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


BAD: dict[str, tuple[Mapping[str, bytes], list[tuple[zipfile.ZipInfo, bytes]]]] = {
    "climbs": ({"../x.py": b""}, []),
    "climbs inside": ({"demo/../../x.py": b""}, []),
    "absolute": ({"/etc/x.py": b""}, []),
    "not in RECORD": ({}, [(zipfile.ZipInfo("extra.py"), b"")]),
    "link": ({"x": b"/etc/passwd"}, [(link("y"), b"/etc/passwd")]),
    "two infos": ({"other-2.0.dist-info/METADATA": b""}, []),
    "line break": ({"a\nb.py": b""}, []),
}


@pytest.mark.parametrize("which", BAD)
def test_malicious_wheels_are_refused(tmp_path: Path, which: str):
    files, infos = BAD[which]
    layout = Layout(tmp_path / "layout", create=True)
    with pytest.raises(ArchiveUnsafe, match=r"demo-1\.0-py3-none-any\.whl"):
        write(layout, write_wheel(tmp_path, files, infos=infos))
    assert not list(layout.folder.rglob("blobs/sha256/*"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(tmp_path: Path):
    twice = [(zipfile.ZipInfo("demo.py"), b"evil")]
    wheel = write_wheel(tmp_path, {"demo.py": b"good"}, infos=twice)
    with pytest.raises(ArchiveUnsafe, match="there twice"):
        paths(wheel)


def test_a_bomb_is_refused(tmp_path: Path):
    wheel = write_wheel(tmp_path, {"zeros.bin": bytes(200 << 20)})
    with pytest.raises(ArchiveUnsafe, match="would unpack from"):
        paths(wheel)


def test_a_size_that_lies(tmp_path: Path):
    wheel = write_wheel(tmp_path, {"demo.py": b"x" * 5000})
    data = wheel.path.read_bytes()
    size = (5000).to_bytes(4, "little")
    assert data.count(size) == 2
    wheel = _again(tmp_path, data.replace(size, (50).to_bytes(4, "little")))
    with pytest.raises(ArchiveUnsafe, match="demo"):
        write(Layout(tmp_path / "layout", create=True), wheel)


def test_damaged_wheels_name_themselves(tmp_path: Path):
    data = write_wheel(tmp_path, {"demo.py": bytes(range(256)) * 50}).path.read_bytes()
    flipped = bytearray(data)
    flipped[200] ^= 0xFF
    for number, bad in enumerate((b"", data[:-30], bytes(flipped))):
        layout = Layout(tmp_path / f"layout{number}", create=True)
        with pytest.raises(ArchiveUnsafe, match=r"demo-1\.0-py3-none-any\.whl"):
            write(layout, _again(tmp_path, bad))


def test_another_package_or_file_than_the_locked_one(tmp_path: Path):
    wheel = write_wheel(tmp_path, {"demo.py": b"x"})
    with pytest.raises(ArchiveUnsafe, match=r"it is demo 1\.0, and demo 2\.0 was locked"):
        paths(open_wheel(wheel.path, version="2.0"))
    with pytest.raises(ArchiveUnsafe, match="was locked"):
        paths(open_wheel(wheel.path, name="other"))
    wheel.path.write_bytes(wheel.path.read_bytes() + b"\0")
    with pytest.raises(ArtifactChanged, match=r"whl is not the file that was locked for demo 1\.0"):
        paths(wheel)


def test_our_own_package_is_a_package(tmp_path: Path):
    own = OwnPackage()
    info = f"enginecrate-{enginecrate.__version__}.dist-info"
    there = paths(own)
    assert {f"{SITE}/enginecrate/__init__.py", f"{SITE}/{info}/licenses/LICENSE"} < there
    assert not [path for path in there if "__pycache__" in path or "/samples/" in path]
    for entry in own.entries():
        if isinstance(entry, RegularFile):
            target = tmp_path / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(entry.read())
    script = (
        "import sys, importlib.metadata as m; sys.path.insert(0, sys.argv[1]);"
        "d = m.distribution('enginecrate');"
        "print(d.version, len(d.requires) > 9, d.metadata['Summary']);"
        "print(all(f.locate().is_file() for f in d.files))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, tmp_path / SITE],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0].startswith(f"{enginecrate.__version__} True From an ONNX")
    assert done.stdout.splitlines()[1] == "True"


def test_our_package_is_the_same_from_another_place(tmp_path: Path):
    source = Path(enginecrate.__file__).parent
    project = source.parent.parent
    copy = tmp_path / "checkout/src/enginecrate"
    shutil.copytree(source, copy)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(project / name, tmp_path / "checkout" / name)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__/x.pyc").write_bytes(b"x")
    (copy / "samples").mkdir(exist_ok=True)
    (copy / "samples/x").write_bytes(b"x")
    here, there = OwnPackage(), OwnPackage(copy)
    layout = Layout(tmp_path / "layout", create=True)
    assert write(layout, here) == write(layout, there)
    assert here.key == there.key


def _again(folder: Path, data: bytes) -> WheelContents:
    (folder / "demo-1.0-py3-none-any.whl").write_bytes(data)
    return open_wheel(folder / "demo-1.0-py3-none-any.whl")
