"""Shared libraries that an image needs and does not have: they are named before it is written.

Source: ELF gABI, "Dynamic Section"; ld.so(8) for the order in which folders are searched.
"""

from __future__ import annotations

import fnmatch
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from enginecrate.errors import MissingExtra, RecipeInvalid
from enginecrate.image.layers.entries import Contents, Entry, Link, RegularFile

__all__ = ["MissingLibrary", "check_libraries", "missing_libraries"]

_FROM_OUTSIDE = (
    "libcuda.so.*",
    "libnvidia-*.so.*",
    "libnvcuvid.so.*",
    "libcudadebugger.so.*",
)
"""Libraries that the host's NVIDIA driver brings into a container."""

_MAGIC = b"\x7fELF"
_LINKS = 40


@dataclass(frozen=True, slots=True)
class MissingLibrary:
    """`file` needs `soname`, and no folder that its loader searches has it."""

    file: str
    soname: str

    def __str__(self) -> str:
        return f"{self.file} needs {self.soname}"


@dataclass(frozen=True, slots=True)
class _Needs:
    libraries: tuple[str, ...]
    folders: tuple[str, ...]
    architecture: str


def check_libraries(contents: Iterable[Contents], outside: Iterable[str] = _FROM_OUTSIDE) -> None:
    """Raises `RecipeInvalid` when an image of all these contents lacks a library."""
    missing = missing_libraries(contents, outside)
    if missing:
        shown = "; ".join(str(one) for one in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise RecipeInvalid(
            f"the image would lack libraries: {shown}{more}; add the packages that hold them, or "
            "leave out the files that need them"
        )


def missing_libraries(
    contents: Iterable[Contents], outside: Iterable[str] = _FROM_OUTSIDE
) -> list[MissingLibrary]:
    """Libraries that files of the image need and none provides, sorted.

    A library that another package loads before (its name is found anywhere among the contents'
    own packages) counts as there when its folder is beside the file's package: Python packages
    load such libraries by path. `outside`: patterns of names that the host brings.

    Raises:
        MissingExtra: the package pyelftools is not installed.
    """
    image = {entry.path: entry for one in contents for entry in one.entries()}
    names = {posixpath.basename(path) for path in image if _exists(path, image)}
    patterns = tuple(outside)
    missing = set()
    for path, needs in _all_needs(image):
        defaults = _default_folders(needs.architecture)
        for library in needs.libraries:
            if any(fnmatch.fnmatchcase(library, pattern) for pattern in patterns):
                continue
            folders = [_expand(folder, path) for folder in needs.folders]
            paths = [f"{folder}/{library}" for folder in (*folders, *defaults)]
            if any(_exists(one, image) for one in paths):
                continue
            if library in names and _is_python_package(path):
                continue
            missing.add(MissingLibrary(path, library))
    return sorted(missing, key=lambda one: (one.file, one.soname))


def _all_needs(image: Mapping[str, Entry]) -> Iterator[tuple[str, _Needs]]:
    for path, entry in image.items():
        if isinstance(entry, RegularFile) and entry.size > 64 and _is_elf(entry):
            yield path, _needs(entry)


def _is_elf(entry: RegularFile) -> bool:
    return next(iter(entry.pieces()), b"")[:4] == _MAGIC


def _needs(entry: RegularFile) -> _Needs:
    with tempfile.TemporaryFile() as file:
        file.writelines(entry.pieces())
        file.seek(0)
        try:
            return _read(file)
        except _elf_errors() as exc:
            raise RecipeInvalid(
                f"{entry.path} is a damaged library or program: {exc}; leave it out, or replace it"
            ) from exc


def _read(file: IO[bytes]) -> _Needs:
    elf = _open_elf(file)
    architecture = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}.get(elf["e_machine"], "")
    libraries: list[str] = []
    folders: list[str] = []
    for segment in elf.iter_segments("PT_DYNAMIC"):
        for tag in segment.iter_tags():
            if tag.entry.d_tag == "DT_NEEDED":
                libraries.append(tag.needed)
            elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                text = tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath
                folders.extend(filter(None, text.split(":")))
    return _Needs(tuple(libraries), tuple(folders), architecture)


def _open_elf(file: IO[bytes]) -> Any:
    try:
        from elftools.elf.elffile import ELFFile
    except ImportError as exc:
        raise MissingExtra("pyelftools", extra="image") from exc
    return ELFFile(file)


def _elf_errors() -> tuple[type[Exception], ...]:
    """Errors of the parser on damaged files; it does not check everything that it uses."""
    from elftools.common.exceptions import ELFError

    return (ELFError, ValueError, KeyError, IndexError, AttributeError, TypeError, UnicodeError)


def _default_folders(architecture: str) -> tuple[str, ...]:
    """Debian's loader searches these without any `ld.so.cache`."""
    triplet = f"{architecture}-linux-gnu"
    return (f"usr/lib/{triplet}", "usr/lib64", "usr/lib")


def _expand(folder: str, path: str) -> str:
    origin = "/" + posixpath.dirname(path)
    text = folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
    return posixpath.normpath(text).lstrip("/")


def _exists(path: str, image: Mapping[str, Entry]) -> bool:
    """True if a path leads to a file, through links of files."""
    for _ in range(_LINKS):
        entry = image.get(path)
        if not isinstance(entry, Link):
            return isinstance(entry, RegularFile)
        joined = posixpath.join("/", posixpath.dirname(path), entry.target)
        path = posixpath.normpath(joined).lstrip("/")
    return False


def _is_python_package(path: str) -> bool:
    return path.startswith("opt/")
