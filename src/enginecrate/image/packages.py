"""The layers made of packages: fetched side by side, then grouped by how often they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from enginecrate.image.client_files import client_files
from enginecrate.image.config import CACHE, USER
from enginecrate.image.entry_script import entry_script
from enginecrate.image.grouping import PackageGroups, group_packages
from enginecrate.image.layers.base import BaseFiles, CaBundle
from enginecrate.image.layers.debs import DebContents
from enginecrate.image.layers.dpkg import DpkgDatabase
from enginecrate.image.layers.entries import Contents, Folder, LayerRecipe
from enginecrate.image.layers.files import EntryContents
from enginecrate.image.layers.own_package import OwnPackage
from enginecrate.image.layers.wheels import WheelContents
from enginecrate.image.recipe import client_contents
from enginecrate.stacks.lock import LockedImage
from enginecrate.values import Progress, no_progress

__all__ = ["Artifacts", "package_layers"]

_WRITABLE = EntryContents(
    "folders to mount",
    (
        Folder("etc/enginecrate"),
        Folder(CACHE.lstrip("/"), owner=USER),
        Folder("var/log/enginecrate", owner=USER),
    ),
)
"""The cache belongs to our user, so that a new volume does, too."""


class Artifacts(Protocol):
    """Gives locked files: from a cache, or from the sources of packages; always checked."""

    def obtain_all(self, image: LockedImage, progress: Progress = ...) -> Mapping[str, Path]:
        """Every package of an image by its sha256.

        Raises `ArtifactMissing`, `ArtifactChanged`, `SourceUnavailable`.
        """
        ...


def package_layers(
    image: LockedImage,
    artifacts: Artifacts,
    progress: Progress = no_progress,
    *,
    on_base: bool = False,
) -> tuple[LayerRecipe, ...]:
    """The layers from the Debian base up to enginecrate itself, lowest first.

    Args:
        image: from the lock.
        artifacts: gives its packages.
        progress: told what is fetched.
        on_base: whether a vendor's image lies below, which has users, certificates and folders.
    """
    paths = artifacts.obtain_all(image, progress)
    groups = group_packages(image)
    wheels = [
        LayerRecipe(wheel.name, _with_bytecode([WheelContents(paths[wheel.sha256], wheel)]))
        for wheel in groups.large
    ]
    others = [WheelContents(paths[wheel.sha256], wheel) for wheel in groups.wheels]
    layers = (
        *_debian_layers(image, groups, paths, on_base=on_base),
        *wheels,
        LayerRecipe("Python packages", _with_bytecode(others)),
        LayerRecipe(
            "enginecrate",
            (
                *_with_bytecode([OwnPackage()]),
                entry_script(image.interpreter),
                client_contents(client_files()),
            ),
        ),
    )
    return tuple(layer for layer in layers if layer.contents)


def _debian_layers(
    image: LockedImage, groups: PackageGroups, paths: Mapping[str, Path], *, on_base: bool
) -> tuple[LayerRecipe, ...]:
    """The base and the interpreter. The list of all packages lies with what changes more often."""
    base = [DebContents(paths[deb.sha256], deb) for deb in groups.base]
    interpreter = [DebContents(paths[deb.sha256], deb) for deb in groups.interpreter]
    if on_base:
        return (LayerRecipe("Debian packages", (_WRITABLE, *base, *interpreter)),)
    files = BaseFiles(lib64=image.platform == "linux/amd64")
    below = (files, _WRITABLE, CaBundle.among(base), *base)
    above = (*_with_bytecode(interpreter), DpkgDatabase([*base, *interpreter]))
    return LayerRecipe("Debian base", below), LayerRecipe("Python", above)


def _with_bytecode(contents: Sequence[Contents]) -> tuple[Contents, ...]:
    return tuple(contents)
