"""Libraries that wheels bring along: what their own bills say, and files in `*.libs`.

Wheels that were repaired by auditwheel or built by maturin carry CycloneDX files in
`*.dist-info/sboms` (PEP 770). A shared library that no such file explains is listed as a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from enginecrate.image.sbom.image_files import ImageFiles
from enginecrate.image.sbom.licences import is_expression
from enginecrate.image.sbom.model import Component, Kind
from enginecrate.image.sbom.purls import without_qualifiers

__all__ = ["vendored_libraries"]

_HASHED = re.compile(r"(?P<name>.+?)(?:-[0-9a-f]{8})*(?:\.so(?:\..*)?)")


def vendored_libraries(
    wheel: Component, metadata: str, files: ImageFiles, paths: Sequence[str]
) -> tuple[Component, ...]:
    """Everything inside of one wheel, sorted by its name here.

    Args:
        wheel: what they are in.
        metadata: path of its `METADATA`.
        files: of the image.
        paths: every file of it.
    """
    info = metadata.removesuffix("METADATA")
    root = info.rstrip("/").rpartition("/")[0]
    found: dict[str, Component] = {}
    for path in paths:
        if path.startswith(f"{info}sboms/") and path.endswith(".json"):
            for one in _listed(files.read(path), wheel):
                found.setdefault(one.ref, one)
    explained = {_plain(one.name) for one in found.values()}
    folders = _library_folders(root, wheel, info)
    for path in paths:
        if path.startswith(folders) and ".so" in path:
            one = _file(path, wheel, files)
            if _plain(one.name) not in explained:
                found.setdefault(one.ref, one)
    return tuple(found[ref] for ref in sorted(found))


def _library_folders(root: str, wheel: Component, info: str) -> tuple[str, ...]:
    """`numpy.libs`: auditwheel names it after the wheel's distribution name."""
    start = f"{root}/" if root else ""
    named = info.rstrip("/").rpartition("/")[2].split("-", 1)[0]
    return tuple({f"{start}{name}.libs/" for name in (wheel.name, named)})


def _listed(data: bytes, wheel: Component) -> Iterator[Component]:
    """Components of a CycloneDX file, but for the wheel itself; others are passed over."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        return
    listed = document.get("components")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            yield from _component(one, wheel)


def _component(entry: dict[str, Any], wheel: Component) -> Iterator[Component]:
    name, version = entry["name"], str(entry.get("version") or "")
    address = str(entry.get("purl") or "")
    if without_qualifiers(address) == wheel.purl or name == wheel.name:
        return
    yield Component(
        kind=Kind.VENDORED,
        ref=f"{wheel.ref}/{name}@{version}",
        name=name,
        version=version,
        purl=address if address.startswith("pkg:") else "",
        licence=_licence(entry),
        supplier=_supplier(entry) or wheel.supplier,
        summary=f"inside of {wheel.name}",
    )


def _licence(entry: dict[str, Any]) -> str:
    """The one expression or identifier that the entry gives, if SPDX knows it."""
    given = entry.get("licenses")
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        return ""
    licence = given[0].get("license")
    named = licence.get("id") if isinstance(licence, dict) else None
    text = str(given[0].get("expression") or named or "")
    return text if is_expression(text) else ""


def _supplier(entry: dict[str, Any]) -> str:
    supplier = entry.get("supplier")
    return str(supplier.get("name") or "") if isinstance(supplier, dict) else ""


def _file(path: str, wheel: Component, files: ImageFiles) -> Component:
    file = path.rpartition("/")[2]
    found = _HASHED.fullmatch(file)
    return Component(
        kind=Kind.VENDORED,
        ref=f"{wheel.ref}/{file}",
        name=found["name"] if found else file,
        supplier=wheel.supplier,
        sha256=files.sha256(path),
        path=path,
        summary=f"shared library inside of {wheel.name}",
    )


def _plain(name: str) -> str:
    """`libjpeg-turbo`, `libjpeg`: names to compare."""
    return name.lower().removeprefix("lib").partition("-")[0].rstrip("0123456789.")
