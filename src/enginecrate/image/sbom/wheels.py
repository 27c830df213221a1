"""Python packages of an image, from their `*.dist-info`.

Source: PyPA, "Core metadata specifications" 2.4, "Recording installed projects".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.message import Message
from email.parser import HeaderParser
from email.utils import getaddresses

from enginecrate.errors import MissingExtra
from enginecrate.image.sbom.image_files import ImageFiles
from enginecrate.image.sbom.licences import LicenceTexts
from enginecrate.image.sbom.model import Component, Kind, Link, Relation
from enginecrate.image.sbom.purls import purl, sound_url
from enginecrate.image.sbom.vendored import vendored_libraries
from enginecrate.image.sbom.wheel_licences import wheel_licence
from enginecrate.values import canonical_name

__all__ = ["python_packages"]

_METADATA = ".dist-info/METADATA"
_SUPPLIERS = {"enginecrate": "Enginecrate"}
"""Suppliers of packages that do not name their makers."""


def python_packages(
    files: ImageFiles, environment: Mapping[str, str], texts: LicenceTexts
) -> tuple[tuple[Component, ...], tuple[Relation, ...]]:
    """Every installed package, the libraries inside of each, and what each depends on.

    Args:
        files: of the image.
        environment: values of environment markers in the image, `python_version` and so on.
        texts: grows by what SPDX has no name for.
    """
    components: list[Component] = []
    relations: list[Relation] = []
    packages: dict[str, Message] = {}
    for component, metadata, path in _installed(files, texts):
        packages.setdefault(canonical_name(component.name), metadata)
        pieces = vendored_libraries(component, path, files)
        components += [component, *pieces]
        relations += [Relation(component.ref, Link.CONTAINS, one.ref) for one in pieces]
    return tuple(components), (*relations, *_dependencies(packages, environment))


def _installed(files: ImageFiles, texts: LicenceTexts) -> Iterator[tuple[Component, Message, str]]:
    """Each package with its metadata, and where that is. Other versions get a ref of their own."""
    versions: dict[str, set[str]] = {}
    described = [
        path for path in files.paths if path.endswith(_METADATA) and path.count(".dist-info/") == 1
    ]
    # Of the same package in our layers and in those of a base, ours is the one that Python loads.
    for path in sorted(described, key=files.in_base):
        metadata = HeaderParser().parsestr(files.read(path).decode("utf-8", "replace"))
        inside = [one for one in files.paths if one.startswith(path.removesuffix("METADATA"))]
        component = replace(
            _component(metadata, files, inside, texts),
            sha256=_own_digest(path, files),
            from_base=files.in_base(path),
        )
        known = versions.setdefault(component.ref, set())
        if component.version in known:
            continue  # the same package in two folders
        if known:
            component = replace(component, ref=f"{component.ref}@{component.version}")
        known.add(component.version)
        yield component, metadata, path


def _own_digest(path: str, files: ImageFiles) -> str:
    """The digest of this program's RECORD, which has those of its files; no wheel brings it."""
    folder = path.removesuffix("METADATA")
    record = f"{folder}RECORD"
    ours = folder.rpartition("/")[0].rpartition("/")[2].startswith("enginecrate-")
    return files.sha256(record) if ours and record in files.paths else ""


def _component(
    metadata: Message, files: ImageFiles, inside: Sequence[str], texts: LicenceTexts
) -> Component:
    name, version = metadata.get("Name", ""), metadata.get("Version", "")
    makers = _makers(metadata)
    return Component(
        kind=Kind.WHEEL,
        ref=f"wheel/{canonical_name(name)}",
        name=name,
        version=version,
        purl=purl("pypi", "", canonical_name(name), version),
        licence=wheel_licence(metadata, files, inside, texts),
        supplier=makers or _SUPPLIERS.get(canonical_name(name), ""),
        summary=metadata.get("Summary", ""),
        homepage=sound_url(_homepage(metadata)),
    )


def _makers(metadata: Message) -> str:
    """Names of the maintainers, or of the authors; addresses only where there are no names."""
    for field in ("Maintainer", "Author"):
        if name := (metadata.get(field) or "").strip():
            return str(name)
        addresses = getaddresses([str(metadata.get(f"{field}-email") or "")])
        if names := ", ".join(name or address for name, address in addresses if name or address):
            return names
    return ""


def _homepage(metadata: Message) -> str:
    if page := metadata.get("Home-page"):
        return str(page)
    labelled = (str(one).partition(",") for one in metadata.get_all("Project-URL") or ())
    urls = {label.strip().lower(): url.strip() for label, _, url in labelled}
    return urls.get("homepage") or next((urls[label] for label in sorted(urls)), "")


def _dependencies(
    packages: Mapping[str, Message], environment: Mapping[str, str]
) -> Iterator[Relation]:
    """Requirements that hold in the image and are there; extras do not count."""
    for name in sorted(packages):
        needs = {
            need
            for text in packages[name].get_all("Requires-Dist") or ()
            for need in _needed(str(text), environment)
        }
        for need in sorted(needs & packages.keys() - {name}):
            yield Relation(f"wheel/{name}", Link.DEPENDS_ON, f"wheel/{need}")


def _needed(text: str, environment: Mapping[str, str]) -> Iterable[str]:
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError as exc:
        raise MissingExtra("packaging", extra="image") from exc
    try:
        need = Requirement(text)
    except InvalidRequirement:
        return ()
    marker = need.marker
    if marker is not None and not marker.evaluate({**environment, "extra": ""}):
        return ()
    return (canonical_name(need.name),)
