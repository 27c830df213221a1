"""Which packages share a layer: those that change together.

Pure: a lock in, groups of packages out. Large wheels (CUDA, TensorRT) have a layer each, so that an
update of one does not move the others, and they are compressed and pulled side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from enginecrate.stacks.lock import LockedDeb, LockedImage, LockedWheel

__all__ = ["PackageGroups", "group_packages"]

_LARGE = 50_000_000
_INTERPRETER = "python3"


@dataclass(frozen=True, slots=True)
class PackageGroups:
    """base: Debian packages below the interpreter. large: wheels that have a layer each."""

    base: tuple[LockedDeb, ...]
    interpreter: tuple[LockedDeb, ...]
    large: tuple[LockedWheel, ...]
    wheels: tuple[LockedWheel, ...]


def group_packages(image: LockedImage) -> PackageGroups:
    """The packages of a locked image in the order of their layers, each group sorted by name."""
    debs = sorted(image.debs, key=lambda deb: deb.name)
    wheels = sorted(image.wheels, key=lambda wheel: wheel.name)
    return PackageGroups(
        base=tuple(deb for deb in debs if not _is_interpreter(deb)),
        interpreter=tuple(deb for deb in debs if _is_interpreter(deb)),
        large=tuple(wheel for wheel in wheels if wheel.size > _LARGE),
        wheels=tuple(wheel for wheel in wheels if wheel.size <= _LARGE),
    )


def _is_interpreter(deb: LockedDeb) -> bool:
    return (deb.source or deb.name).startswith(_INTERPRETER)
