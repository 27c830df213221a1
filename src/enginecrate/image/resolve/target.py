"""The machine that an image is for, as wheels and their dependencies see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enginecrate.errors import RecipeInvalid

__all__ = ["ALL_PLATFORMS", "PLATFORMS", "Target", "debian_architecture", "marker_values"]

PLATFORMS = {"linux/amd64": ("amd64", "x86_64"), "linux/arm64": ("arm64", "aarch64")}
"""Platform of an image: Debian's name of the architecture, and Python's."""

ALL_PLATFORMS = "all"
"""Stands for every platform of a stack, or of a lock, where a user names platforms."""

_LEGACY = {"x86_64": {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"},
           "aarch64": {17: "manylinux2014"}}  # fmt: skip
"""The older names of manylinux tags by the minor version of glibc 2 (PEP 600)."""


def debian_architecture(platform: str) -> str:
    """`amd64` for `linux/amd64`. Raises `RecipeInvalid`: images are not made for the platform."""
    return _names(platform)[0]


@dataclass(frozen=True, slots=True)
class Target:
    """A platform with the interpreter and the C library of its base.

    platform: `linux/amd64`; interpreter: `3.11.2`; glibc: `2.36`.
    """

    platform: str
    interpreter: str
    glibc: str

    @property
    def machine(self) -> str:
        """As Python names it: `x86_64`."""
        return _names(self.platform)[1]

    @property
    def python(self) -> str:
        """Major and minor version of the interpreter, `3.11`."""
        return ".".join(self.interpreter.split(".")[:2])

    @property
    def tags(self) -> tuple[str, ...]:
        """Platform tags of wheels that run there, best first (PEP 600)."""
        return tuple(self._tags())

    @property
    def environment(self) -> dict[str, str]:
        """As `marker_values`."""
        return marker_values(self.machine, self.interpreter)

    def _tags(self) -> Iterator[str]:
        legacy = _LEGACY[self.machine]
        newest = int(self.glibc.split(".")[1])
        for minor in range(newest, min(legacy) - 1, -1):
            yield f"manylinux_2_{minor}_{self.machine}"
            if minor in legacy:
                yield f"{legacy[minor]}_{self.machine}"


def marker_values(machine: str, interpreter: str) -> dict[str, str]:
    """The variables of dependency markers (PyPA specification, "Dependency specifiers").

    Args:
        machine: as Python names it, `x86_64`.
        interpreter: version of the interpreter, `3.11.2`.
    """
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": interpreter,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": interpreter,
        "python_version": ".".join(interpreter.split(".")[:2]),
        "sys_platform": "linux",
    }


def _names(platform: str) -> tuple[str, str]:
    try:
        return PLATFORMS[platform]
    except KeyError:
        raise RecipeInvalid(
            f"images are not made for {platform!r}; platforms: {', '.join(PLATFORMS)}"
        ) from None
