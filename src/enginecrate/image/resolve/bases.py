"""Bases of images: a distribution's packages, or a vendor's image. They are data files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from enginecrate.errors import RecipeInvalid, StackDataInvalid, nearest
from enginecrate.manifest import Image
from enginecrate.stacks.catalog import Stack
from enginecrate.values import Digest

__all__ = ["Base", "ExcludedPackage", "base_of", "load_base"]

_DATA = Path(__file__).parent / "data" / "bases"


class BasePackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Debian package that every image of the base has."""

    name: str
    reason: str


class ExcludedPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dependency that is not taken. `provides`: virtual packages that it stands for."""

    name: str
    reason: str
    provides: tuple[str, ...] = ()


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A base.

    glibc: version of the C library: decides which wheels fit.
    python: version of the interpreter, `3.11`; `interpreter` and `libc`: the packages that have it
        and the C library.
    vendor_image: the base is an image that the user names; then there are no packages.
    """

    name: str
    title: str
    glibc: str
    python: str
    interpreter: str = ""
    libc: str = ""
    vendor_image: bool = False
    packages: tuple[BasePackage, ...] = ()
    left_out: tuple[ExcludedPackage, ...] = ()

    def wanted(self, more: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Names of the packages to resolve, sorted. `more`: those of the manifest."""
        return tuple(sorted({package.name for package in self.packages} | set(more)))

    def without(self, wanted: tuple[str, ...]) -> tuple[ExcludedPackage, ...]:
        """The packages to leave out, without those that are wanted by name."""
        return tuple(one for one in self.left_out if one.name not in wanted)

    @property
    def digest(self) -> Digest:
        """A digest of everything that decides what is resolved."""
        return Digest.of(msgspec.json.encode(self, order="sorted"))


def base_of(stack: Stack, image: Image) -> Base:
    """The base that an image of the stack stands on.

    Raises:
        RecipeInvalid: there is no such base, or a vendor's image is needed and none is named.
    """
    jetpack = stack.versions.get("jetpack")
    if jetpack is None:
        return load_base(image.base)
    base = load_base(f"jetpack-{jetpack.partition('.')[0]}")
    if not image.base_image:
        raise RecipeInvalid(
            f"{stack.name} stands on an image of the vendor that has JetPack {jetpack} and Python "
            f"{base.python}; name it in enginecrate.toml, with its digest: [image] base_image = "
            '"registry.example.com/jetpack@sha256:..."'
        )
    return base


@cache
def load_base(name: str) -> Base:
    """The base of this name. Raises `RecipeInvalid`, which suggests the nearest."""
    known = sorted(file.stem for file in _DATA.glob("*.toml"))
    if name not in known:
        raise RecipeInvalid(
            f"there is no base {name!r}{nearest(name, known)}; [image] base may be one of: "
            f"{', '.join(known)}"
        )
    file = _DATA / f"{name}.toml"
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Base)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StackDataInvalid(f"{file}: {exc}") from exc
