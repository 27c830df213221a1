"""Which licences an image is under, for its `LICENSES` summary and for people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from enginecrate.image.sbom.model import Component, Kind, Sbom

__all__ = ["LicenceUse", "licence_summary", "render_licences"]

_UNKNOWN = "NOASSERTION"
_LISTED = (Kind.DEB, Kind.WHEEL, Kind.VENDORED, Kind.APP, Kind.MODEL, Kind.PLAN, Kind.DATA)


@dataclass(frozen=True, slots=True, order=True)
class LicenceUse:
    """licence: an SPDX expression, `NOASSERTION` where nothing is known; of: names, sorted."""

    licence: str
    of: tuple[str, ...]


def licence_summary(sbom: Sbom) -> tuple[LicenceUse, ...]:
    """Every licence of an image with what is under it, sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in sbom.of_kind(*_LISTED):
        found[one.licence or _UNKNOWN].add(_title(one))
    return tuple(LicenceUse(name, tuple(sorted(found[name]))) for name in sorted(found))


def render_licences(sbom: Sbom) -> bytes:
    """The summary as text, then the texts that SPDX has no name for."""
    lines = [f"Licences of {sbom.subject.name} {sbom.subject.version}".rstrip(), ""]
    for use in licence_summary(sbom):
        lines += [use.licence, *(f"    {name}" for name in use.of), ""]
    for name, text in sbom.licence_texts.items():
        lines += ["=" * 80, name, "", text, ""]
    return "\n".join(lines).encode()


def _title(one: Component) -> str:
    return f"{one.kind} {one.name} {one.version}".rstrip()
