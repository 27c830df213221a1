"""A bill of materials, before it becomes a document of some standard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BaseFacts", "Component", "Kind", "Link", "Relation", "Sbom", "Subject"]


class Kind(StrEnum):
    """The kind of a component."""

    BASE = "base image"
    """A vendor's image, which lies below ours."""
    SYSTEM = "operating-system"
    DEB = "deb"
    WHEEL = "wheel"
    VENDORED = "vendored"
    """A library inside of a wheel, as a file or compiled in."""
    APP = "application"
    MODEL = "model"
    PLAN = "plan"
    DATA = "data"
    """Photos, labels, golden results, documents of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing in an image.

    ref: its name in this bill: `deb/libc6`, `wheel/numpy`, `file/opt/enginecrate/app/model.onnx`.
    purl: a package URL; empty for a file inside of a package.
    licence: an SPDX expression with `LicenseRef-...` where SPDX has no identifier; empty: unknown.
    supplier: who distributes it. author: who made it, where that is another one.
    sha256: of the .deb, the wheel or the file. path: of a file in the image.
    from_base: it came with the vendor's image below.
    """

    kind: Kind
    ref: str
    name: str
    version: str = ""
    purl: str = ""
    licence: str = ""
    supplier: str = ""
    author: str = ""
    sha256: str = ""
    path: str = ""
    summary: str = ""
    homepage: str = ""
    from_base: bool = False


class Link(StrEnum):
    """The link between two components."""

    CONTAINS = "contains"
    DEPENDS_ON = "depends on"
    MADE_FROM = "made from"


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """`source` contains, depends on or was made from `target`; both are refs."""

    source: str
    link: Link
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """The vendor's image below, as ours names it. `layers`: the number of its layers."""

    name: str
    digest: str
    layers: int

    @property
    def ref(self) -> str:
        return f"base/{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image that the bill is about.

    digest: `sha256:...` of its manifest. platform: `linux/amd64`.
    created: RFC 3339, UTC; the same for each build of the same project.
    base: the vendor's image below, if there is one.
    """

    name: str
    version: str
    digest: str
    platform: str
    created: str
    purl: str = ""
    supplier: str = ""
    licence: str = ""
    summary: str = ""
    base: BaseFacts | None = None

    @property
    def ref(self) -> str:
        return f"image/{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """A bill. licence_texts: of every `LicenseRef-...` that its components name."""

    subject: Subject
    components: tuple[Component, ...]
    relations: tuple[Relation, ...]
    licence_texts: Mapping[str, str]

    def of_kind(self, *kinds: Kind) -> tuple[Component, ...]:
        """Its components of these kinds, in order."""
        return tuple(one for one in self.components if one.kind in kinds)
