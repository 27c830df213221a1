"""The CUDA and TensorRT libraries that a process would load. Nothing is loaded.

Python packages bring their own copies and load them by path; else the dynamic loader looks in
`LD_LIBRARY_PATH`, then in its cache (ld.so(8)).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from enginecrate.values import canonical_name

__all__ = ["SAME_MODULE", "Library", "installed_versions", "parse_cache", "probe_libraries"]

SAME_MODULE = {"onnxruntime": "onnxruntime-gpu"}
"""Packages with the same Python module: where the second is, the first is never installed."""

_NAMES = {
    "libcuda.so": "CUDA driver",
    "libcudart.so": "CUDA runtime",
    "libcublas.so": "cuBLAS",
    "libcudnn.so": "cuDNN",
    "libnccl.so": "NCCL",
    "libnvinfer.so": "TensorRT",
    "libtensorrt_rtx.so": "TensorRT-RTX",
}

_FILE = re.compile(r"(lib[a-z_]+\.so)((?:\.\d+)*)")

_FOLDERS = ("nvidia/*/lib", "tensorrt_libs", "tensorrt_lean_libs", "tensorrt_rtx_libs")
"""Their folders in wheels, below `site-packages`."""

_PREFIXES = ("nvidia-", "tensorrt", "onnxruntime", "cuda-")


@dataclass(frozen=True, slots=True)
class Library:
    """A library file that can be loaded.

    component: what it is (`cuDNN`); soname: how programs ask for it (`libcudnn.so.9`).
    version: of its package, or as far as the file's name tells; at least the major one.
    origin: `package`, `LD_LIBRARY_PATH` or `system`, in the order in which they win.
    """

    component: str
    soname: str
    path: Path
    version: str
    origin: str


def probe_libraries() -> tuple[Library, ...]:
    """Every library of CUDA and TensorRT that this process could load, the winners first.

    Problems count as nothing found.
    """
    libraries = [
        *_in_packages(map(Path, sys.path)),
        *_in_path(os.environ.get("LD_LIBRARY_PATH", "")),
        *_in_cache(),
    ]
    seen: set[tuple[str, Path]] = set()
    kept = []
    for library in libraries:
        key = (library.soname, library.path.resolve())
        if key not in seen:
            seen.add(key)
            kept.append(library)
    return tuple(kept)


def installed_versions() -> dict[str, str]:
    """Versions of the installed packages that matter to engines, by normalised name, sorted."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = canonical_name(distribution.metadata["Name"] or "")
        if name.startswith(_PREFIXES):
            versions.setdefault(name, distribution.version)
    return dict(sorted(versions.items()))


def parse_cache(text: str) -> Iterator[Library]:
    """The libraries in what `ldconfig -p` prints: `NAME (KIND) => PATH`."""
    for line in text.splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if arrow:
            yield from _library(name.split(" ")[0], Path(path), "system")


def _in_packages(roots: Iterable[Path]) -> Iterator[Library]:
    versions = _package_versions()
    for root in roots:
        for pattern in _FOLDERS:
            for folder in sorted(root.glob(pattern)):
                for library in _in_folder(folder, "package"):
                    version = versions.get(str(library.path), library.version)
                    yield replace(library, version=version)


def _package_versions() -> dict[str, str]:
    """The versions of the packages that library files belong to, by path."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        if not canonical_name(distribution.metadata["Name"] or "").startswith(_PREFIXES):
            continue
        for file in distribution.files or ():
            if _FILE.fullmatch(file.name):
                versions[str(distribution.locate_file(file))] = distribution.version
    return versions


def _in_path(text: str) -> Iterator[Library]:
    for folder in (Path(word) for word in text.split(":") if word):
        yield from _in_folder(folder, "LD_LIBRARY_PATH")


def _in_folder(folder: Path, origin: str) -> Iterator[Library]:
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return
    for file in files:
        yield from _library(file.name, file, origin)


def _in_cache() -> Iterator[Library]:
    program = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if program is None:
        return
    try:
        answer = subprocess.run(  # noqa: S603 -- fixed arguments
            [program, "-p"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    yield from parse_cache(answer.stdout)


def _library(name: str, path: Path, origin: str) -> Iterator[Library]:
    """A library, when programs ask for it by this name (that is with its major version)."""
    match = _FILE.fullmatch(name)
    if match is None or match[1] not in _NAMES or match[2].count(".") != 1:
        return
    # A link leads to the file with the whole version in its name.
    real = _FILE.fullmatch(path.resolve().name)
    version = (real[2] if real else "") or match[2]
    yield Library(_NAMES[match[1]], name, path, version.lstrip("."), origin)
