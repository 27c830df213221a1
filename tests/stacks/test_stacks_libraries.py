"""The libraries that would be loaded: found by name in folders and in the loader's cache."""

import sys
from pathlib import Path

import pytest

from enginecrate.stacks.machine.libraries import installed_versions, parse_cache, probe_libraries
from enginecrate.values import canonical_name

CACHE = """\
1203 libs found in cache `/etc/ld.so.cache'
\tlibnvidia-ml.so.1 (libc6,x86-64) => /lib/libnvidia-ml.so.1
\tlibcudnn_ops.so.9 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcudnn_ops.so.9
\tlibcudnn.so.9 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcudnn.so.9
\tlibcudnn.so (libc6,x86-64) => /lib/x86_64-linux-gnu/libcudnn.so
\tlibcudart.so.13 (libc6,x86-64) => /nowhere/lib/libcudart.so.13
"""


def test_the_cache_of_the_loader():
    found = [(one.component, one.soname, str(one.path)) for one in parse_cache(CACHE)]
    assert found == [
        ("cuDNN", "libcudnn.so.9", "/lib/x86_64-linux-gnu/libcudnn.so.9"),
        ("CUDA runtime", "libcudart.so.13", "/nowhere/lib/libcudart.so.13"),
    ]


def test_packages_win_over_the_path_and_versions_come_from_the_real_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "site" / "nvidia" / "cudnn" / "lib"
    folder = tmp_path / "lib"
    for place, version in ((package, "9.19.0"), (folder, "9.1.1")):
        place.mkdir(parents=True)
        (place / f"libcudnn.so.{version}").write_bytes(b"")
        (place / "libcudnn.so.9").symlink_to(f"libcudnn.so.{version}")
        (place / "libcudnn.so").symlink_to("libcudnn.so.9")
    (folder / "readme.txt").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{folder}:{tmp_path / 'missing'}:{folder}")
    found = [one for one in probe_libraries() if tmp_path in one.path.parents]
    assert [(one.version, one.origin) for one in found] == [
        ("9.19.0", "package"),
        ("9.1.1", "LD_LIBRARY_PATH"),
    ]


def test_probing_loads_nothing(monkeypatch: pytest.MonkeyPatch):
    before = set(sys.modules)
    probe_libraries()
    installed_versions()
    assert not {name for name in set(sys.modules) - before if name.startswith("tensorrt")}


def test_packages_by_the_name_that_indexes_use():
    assert canonical_name("tensorrt_rtx.cu13__libs") == "tensorrt-rtx-cu13-libs"
    assert "onnxruntime" in installed_versions()


def test_the_library_of_a_package_has_its_version():
    found = [one for one in probe_libraries() if one.soname == "libtensorrt_rtx.so.1"]
    assert found[0].version == installed_versions()["tensorrt-rtx-cu13-libs"]
