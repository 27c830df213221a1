"""The layers made of packages: those that change together share a layer.

Large wheels (CUDA, TensorRT) have a layer each, so that an update of one does not move the others,
and they are compressed and pulled side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from enginecrate.image.layers.base_files import USER, BaseFiles
from enginecrate.image.layers.entries import Contents, Folder, LayerRecipe
from enginecrate.image.layers.files import EntryContents
from enginecrate.image.layers.packages.ca_bundle import CaBundle
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.packages.dpkg import DpkgDatabase
from enginecrate.image.layers.packages.own_package import OwnPackage
from enginecrate.image.layers.packages.wheels import WheelContents
from enginecrate.image.layers.python.bytecode import PythonBytecode
from enginecrate.image.layers.python.interpreter import Interpreter, builder_image, runs_python
from enginecrate.image.recipe.app_layers import client_contents
from enginecrate.image.recipe.bundled_files import client_files, entry_script, image_defaults
from enginecrate.image.recipe.config import CACHE
from enginecrate.stacks.lock import Lock, LockedDeb, LockedImage, LockedWheel
from enginecrate.values import Progress, no_progress

__all__ = ["Artifacts", "group_packages", "open_interpreter", "package_layers"]

_LARGE = 50_000_000
_INTERPRETER = "python3"
_WRITABLE = EntryContents(
    "folders to mount",
    (
        Folder("etc/enginecrate"),
        Folder(CACHE.lstrip("/"), owner=USER),
        Folder("var/log/enginecrate", owner=USER),
    ),
)
"""The cache belongs to our user, so that a new volume does, too."""


@dataclass(frozen=True, slots=True)
class _PackageGroups:
    """base: Debian packages below the interpreter. large: wheels that have a layer each."""

    base: tuple[LockedDeb, ...]
    interpreter: tuple[LockedDeb, ...]
    large: tuple[LockedWheel, ...]
    wheels: tuple[LockedWheel, ...]


def group_packages(image: LockedImage) -> _PackageGroups:
    """The packages of a locked image in the order of their layers, each group sorted by name."""
    debs = sorted(image.debs, key=lambda deb: deb.name)
    wheels = sorted(image.wheels, key=lambda wheel: wheel.name)
    return _PackageGroups(
        base=tuple(deb for deb in debs if not _is_interpreter(deb)),
        interpreter=tuple(deb for deb in debs if _is_interpreter(deb)),
        large=tuple(wheel for wheel in wheels if wheel.size > _LARGE),
        wheels=tuple(wheel for wheel in wheels if wheel.size <= _LARGE),
    )


def _is_interpreter(deb: LockedDeb) -> bool:
    return (deb.source or deb.name).startswith(_INTERPRETER)


class Artifacts(Protocol):
    """A giver of locked files: from a cache, or from the sources of packages; always checked."""

    def obtain_all(self, image: LockedImage, progress: Progress = ...) -> Mapping[str, Path]:
        """Every package of an image by its sha256.

        Raises `ArtifactMissing`, `ArtifactChanged`, `SourceUnavailable`.
        """
        ...


@contextmanager
def open_interpreter(
    image: LockedImage, lock: Lock, artifacts: Artifacts, progress: Progress = no_progress
) -> Iterator[Interpreter | None]:
    """The image's own Python, to compile its bytecode; `None` where a vendor's base brings it.

    On another architecture it is the same Python of the lock's image for this one.
    """
    builder = builder_image(image, lock.images)
    if not any(runs_python(deb) for deb in builder.debs):
        yield None
        return
    paths = artifacts.obtain_all(builder, progress)
    debs = [DebContents(paths[deb.sha256], deb) for deb in builder.debs]
    with Interpreter(debs, builder.interpreter) as interpreter:
        yield interpreter


def package_layers(
    image: LockedImage,
    paths: Mapping[str, Path],
    interpreter: Interpreter | None,
    *,
    on_base: bool = False,
) -> tuple[LayerRecipe, ...]:
    """The layers from the Debian base up to enginecrate itself, lowest first.

    Args:
        image: from the lock.
        paths: its packages by sha256.
        interpreter: compiles bytecode; without it there is none.
        on_base: a vendor's image lies below, which has users, certificates and folders.
    """
    groups = group_packages(image)
    large = [WheelContents(paths[wheel.sha256], wheel) for wheel in groups.large]
    others = [WheelContents(paths[wheel.sha256], wheel) for wheel in groups.wheels]
    own = OwnPackage()
    ours: tuple[Contents, ...] = (
        entry_script(image.interpreter),
        image_defaults(),
        client_contents(client_files()),
    )
    layers = (
        *_debian_layers(image, groups, paths, interpreter, on_base=on_base),
        *(LayerRecipe(str(wheel), _with_bytecode([wheel], interpreter)) for wheel in large),
        LayerRecipe("Python packages", _with_bytecode(others, interpreter)),
        LayerRecipe("enginecrate", (*_with_bytecode([own], interpreter), *ours)),
    )
    return tuple(layer for layer in layers if layer.contents)


def _debian_layers(
    image: LockedImage,
    groups: _PackageGroups,
    paths: Mapping[str, Path],
    interpreter: Interpreter | None,
    *,
    on_base: bool,
) -> tuple[LayerRecipe, ...]:
    """The base and the interpreter. The list of all packages lies with what changes more often."""
    base = [DebContents(paths[deb.sha256], deb) for deb in groups.base]
    python = [DebContents(paths[deb.sha256], deb) for deb in groups.interpreter]
    if on_base:
        return (LayerRecipe("Debian packages", (_WRITABLE, *base, *python)),)
    files = BaseFiles(lib64=image.platform == "linux/amd64")
    below: tuple[Contents, ...] = (files, _WRITABLE, CaBundle.among(base), *base)
    database: Contents = DpkgDatabase([*base, *python])
    above = (*_with_bytecode(python, interpreter), database)
    return LayerRecipe("Debian base", below), LayerRecipe("Python", above)


def _with_bytecode(
    contents: Sequence[Contents], interpreter: Interpreter | None
) -> tuple[Contents, ...]:
    if interpreter is None or not contents:
        return tuple(contents)
    return (*contents, PythonBytecode(contents, interpreter))
