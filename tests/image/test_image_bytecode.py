"""Bytecode comes from the image's own Python, started from its unpacked packages."""

import importlib.util
import json
import marshal
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest
from layer_tools import open_deb, paths, write

import enginecrate
from containers import Podman
from enginecrate.errors import RecipeInvalid
from enginecrate.image.formats.oci import (
    CONFIG,
    MANIFEST,
    ContainerConfig,
    ImageConfig,
    ImageManifest,
    RootFs,
    encode,
)
from enginecrate.image.layers.base_files import BaseFiles
from enginecrate.image.layers.files import BytesContents
from enginecrate.image.layers.libraries import check_libraries
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.packages.dpkg import DpkgDatabase
from enginecrate.image.layers.packages.own_package import OwnPackage
from enginecrate.image.layers.python.bytecode import PythonBytecode
from enginecrate.image.layers.python.interpreter import Interpreter, builder_image
from enginecrate.image.transports.layout import Layout
from enginecrate.stacks.lock import LockedDeb, LockedImage

PACKAGES = (
    "base-files", "libc6", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libssl3", "zlib1g",
    "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "ca-certificates",
)  # fmt: skip
SITE = "opt/enginecrate/lib"
SOURCES = {
    f"{SITE}/demo/__init__.py": b"def f(x):\n    return x in {'a', 'b', None, 3.5}\n",
    f"{SITE}/demo/broken.py": b"print 'Python 2'\n",
    f"{SITE}/demo/zero.py": b"x = '\0'\n",
    f"{SITE}/demo/latin.py": b"# -*- coding: latin-1 -*-\nx = '\xe4'\n",
    f"{SITE}/demo/data.txt": b"print()\n",
}


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> list[DebContents]:
    """Debian's Python and what it needs, from this machine's sources."""
    folder = tmp_path_factory.mktemp("debs")
    folder.chmod(0o777)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True, capture_output=True)
    return [
        open_deb(path, path.read_bytes(), *path.stem.split("_")[:2])
        for path in sorted(folder.glob("*.deb"))
    ]


@pytest.fixture(scope="module")
def interpreter(debs: list[DebContents]) -> Iterator[Interpreter]:
    with Interpreter(debs, "3.11.2") as one:
        yield one


def compiled(interpreter: Interpreter) -> dict[str, bytes]:
    bytecode = PythonBytecode([BytesContents("sources", SOURCES)], interpreter)
    return {entry.path: entry.read() for entry in bytecode.entries()}


def test_what_compiles_is_compiled(interpreter: Interpreter):
    made = compiled(interpreter)
    folder = f"{SITE}/demo/__pycache__"
    assert made.keys() == {f"{folder}/__init__.cpython-311.pyc", f"{folder}/latin.cpython-311.pyc"}
    pyc = made[f"{folder}/__init__.cpython-311.pyc"]
    assert pyc[4:8] == (0b01).to_bytes(4, "little")  # PEP 552: by hash, unchecked
    assert pyc[8:16] == importlib.util.source_hash(SOURCES[f"{SITE}/demo/__init__.py"])
    if pyc[:4] == importlib.util.MAGIC_NUMBER:
        code = marshal.loads(pyc[16:])
        assert isinstance(code, CodeType)
        assert code.co_filename == f"/{SITE}/demo/__init__.py"


def test_the_same_bytes_from_another_unpacked_interpreter(
    debs: list[DebContents],
    interpreter: Interpreter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    first = compiled(interpreter)
    (tmp_path / "a rather long folder for temporary files").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(next(tmp_path.iterdir())))
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", "")
    with Interpreter(list(reversed(debs)), "3.11.2") as another:
        assert compiled(another) == first
    assert not list(next(tmp_path.iterdir()).iterdir())


def test_the_key_follows_sources_and_version(interpreter: Interpreter):
    one = PythonBytecode([BytesContents("s", {"x.py": b"1"})], interpreter).key
    two = PythonBytecode([BytesContents("s", {"x.py": b"2"})], interpreter).key
    three = PythonBytecode([BytesContents("s", {"x.py": b"1"})], Interpreter([], "3.11.3")).key
    assert len({one, two, three}) == 3


def test_without_python_the_cure_is_named():
    with (
        Interpreter([], "3.11") as nothing,
        pytest.raises(RecipeInvalid, match="hold no Python that can start"),
    ):
        compiled(nothing)


def test_a_python_that_fails_says_what_it_said(interpreter: Interpreter, tmp_path: Path):
    with pytest.raises(RecipeInvalid, match="status 3: too bad"):
        interpreter.run(["-c", "import sys; sys.stderr.write('too bad'); sys.exit(3)"], tmp_path)


def test_nothing_of_this_machine_reaches_it(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    script = "import json, os, sys; json.dump([dict(os.environ), sys.path], open('out', 'w'))"
    interpreter.run(["-c", script], tmp_path)
    environment, path = json.loads((tmp_path / "out").read_text())
    assert environment.keys() == {
        "LC_ALL",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONHOME",
    }
    assert not [one for one in path if not one.startswith(environment["PYTHONHOME"])]


def locked(platform_name: str, version: str = "3.11.2-6") -> LockedImage:
    deb = LockedDeb(name="python3.11-minimal", version=version, architecture="x", file="p.deb",
                    sha256="0" * 64, size=1)  # fmt: skip
    return LockedImage(stack="ort-cpu", platform=platform_name, base="debian-12", debs=(deb,),
                       interpreter="3.11.2", compression="gzip 1 level 9", wheels=())  # fmt: skip


def test_another_architecture_is_compiled_by_ours():
    here = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]
    other = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[here]
    mine, foreign = locked(here), locked(other)
    assert builder_image(foreign, [foreign, mine]) is mine
    assert builder_image(mine, [foreign, mine]) is mine
    assert builder_image(foreign, [foreign, locked(here, "3.11.9-1")]) is foreign
    assert builder_image(foreign, [foreign]) is foreign


@pytest.mark.full
def test_an_image_of_these_layers_runs(
    debs: list[DebContents], interpreter: Interpreter, podman: Podman, tmp_path: Path
):
    base = [BaseFiles(lib64=platform.machine() == "x86_64"), *debs]
    own = OwnPackage()
    check_libraries([*base, own])
    layout = Layout(tmp_path / "layout", create=True)
    layers = [
        write(layout, *base, DpkgDatabase(debs), PythonBytecode(debs, interpreter)),
        write(layout, own, PythonBytecode([own], interpreter), how="gzip"),
    ]
    config = ImageConfig(
        architecture={"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()], os="linux",
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
        config=ContainerConfig(user="65532:65532", entrypoint=("/usr/bin/python3.11", "-I", "-c")),
    )  # fmt: skip
    stored = layout.add_blob(iter((encode(config),)), CONFIG)
    manifest = ImageManifest(config=stored, layers=tuple(one.descriptor for one in layers))
    layout.write_manifest(encode(manifest), MANIFEST, ["try"])

    image = podman.run("pull", "-q", f"oci:{layout.folder}:try").stdout.strip()
    script = """
import bz2, ctypes, hashlib, importlib.metadata, json, lzma, os, pwd, ssl, sys, zlib
sys.path.insert(0, "/opt/enginecrate/lib")
import enginecrate.errors
json.dump({
    "compiled": [os.path.exists(m.__spec__.cached) for m in (enginecrate.errors, json)],
    "version": importlib.metadata.version("enginecrate"),
    "user": pwd.getpwuid(os.getuid()).pw_name,
    "programs": os.listdir("/usr/bin"), "system": open("/etc/os-release").read()}, sys.stdout)
"""
    done = podman.run(
        "run", "--rm", "--read-only", "--cap-drop=all", "--network=none", image, script
    )
    found = json.loads(done.stdout)
    assert found["compiled"] == [True, True]
    assert found["version"] == enginecrate.__version__
    assert found["user"] == "nonroot"
    assert found["programs"] == ["python3.11"]
    assert "bookworm" in found["system"]
    podman.run("rmi", "-f", image)


def test_bytecode_of_the_standard_library(debs: list[DebContents], interpreter: Interpreter):
    (stdlib,) = (deb for deb in debs if deb.locked.name == "libpython3.11-minimal")
    made = paths(PythonBytecode([stdlib], interpreter))
    assert "usr/lib/python3.11/__pycache__/os.cpython-311.pyc" in made
    assert len(made) > 50
