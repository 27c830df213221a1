"""Libraries that wheels bring along, by their own bills and the files in `*.libs`.

Wheels that were repaired by auditwheel or built by maturin carry CycloneDX files in
`*.dist-info/sboms` (PEP 770). A shared library that no such file explains is listed as a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from enginecrate.image.sbom.image_files import ImageFiles
from enginecrate.image.sbom.licences import all_of, is_expression
from enginecrate.image.sbom.model import Component, Kind
from enginecrate.image.sbom.purls import sound_purl, without_qualifiers

__all__ = ["vendored_libraries"]

_HASHED = re.compile(r"(?P<name>.+?)(?:-[0-9a-f]{8})*(?:\.so(?:\..*)?)")


def vendored_libraries(wheel: Component, metadata: str, files: ImageFiles) -> tuple[Component, ...]:
    """Everything inside of one wheel, sorted by its name here.

    What a bill calls optional is listed when a shared library of its name is there.

    Args:
        wheel: what they are in.
        metadata: path of its `METADATA`.
        files: of the image.
    """
    info = metadata.removesuffix("METADATA")
    folders = _library_folders(info, wheel)
    shared = [
        _file(path, wheel, files)
        for path in files.paths
        if path.startswith(folders) and ".so" in path
    ]
    shared_names = {name for one in shared for name in _names(one.name)}
    libraries: dict[str, Component] = {}
    for path in files.paths:
        if path.startswith(f"{info}sboms/") and path.endswith(".json"):
            for library, optional in _listed(files.read(path), wheel):
                if not optional or _names(library.name) & shared_names:
                    libraries.setdefault(library.ref, library)
    explained = {name for one in libraries.values() for name in _names(one.name)}
    libraries |= {one.ref: one for one in shared if not _names(one.name) & explained}
    return tuple(replace(libraries[ref], from_base=wheel.from_base) for ref in sorted(libraries))


def _library_folders(info: str, wheel: Component) -> tuple[str, ...]:
    """`numpy.libs/`: auditwheel names it after the distribution."""
    root, _, folder = info.rstrip("/").rpartition("/")
    start = f"{root}/" if root else ""
    names = {wheel.name, folder.partition("-")[0]}
    return tuple(f"{start}{name}.libs/" for name in sorted(names))


def _listed(data: bytes, wheel: Component) -> Iterator[tuple[Component, bool]]:
    """Components of a CycloneDX file, and whether each is optional; what is none is passed over."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        return
    listed = document.get("components")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("scope") != "excluded":
            for component in _component(entry, wheel):
                yield component, entry.get("scope") == "optional"


def _component(entry: dict[str, Any], wheel: Component) -> Iterator[Component]:
    """The entry, unless it is the wheel itself or a part of its own code."""
    name = str(entry.get("name") or "")
    version = str(entry.get("version") or f"in {wheel.name} {wheel.version}")
    address = str(entry.get("purl") or "")
    if not name or without_qualifiers(address) == wheel.purl or name == wheel.name:
        return
    yield Component(
        kind=Kind.VENDORED,
        ref=f"{wheel.ref}/{name}@{version}",
        name=name,
        version=version,
        purl=sound_purl(address),
        licence=_licence(entry),
        supplier=_supplier(entry) or wheel.supplier,
        summary=f"inside of {wheel.name}",
    )


def _licence(entry: dict[str, Any]) -> str:
    """All licences that the entry lists, if SPDX knows each of them."""
    listed = entry.get("licenses")
    texts = []
    for choice in listed if isinstance(listed, list) else ():
        licence = choice.get("license") if isinstance(choice, dict) else None
        whole = choice.get("expression") if isinstance(choice, dict) else None
        named = licence.get("id") if isinstance(licence, dict) else whole
        texts.append(str(named or ""))
    return all_of(texts) if all(map(is_expression, texts)) else ""


def _supplier(entry: dict[str, Any]) -> str:
    supplier = entry.get("supplier")
    return str(supplier.get("name") or "") if isinstance(supplier, dict) else ""


def _file(path: str, wheel: Component, files: ImageFiles) -> Component:
    """A bare file as a component: no version is stated, so its checksum stands for one."""
    file = path.rpartition("/")[2]
    sha256 = files.sha256(path)
    match = _HASHED.fullmatch(file)
    return Component(
        kind=Kind.VENDORED,
        ref=f"{wheel.ref}/{file}",
        name=match["name"] if match else file,
        version=f"sha256:{sha256[:12]}",
        supplier=wheel.supplier,
        sha256=sha256,
        path=path,
        summary=f"shared library inside of {wheel.name}",
    )


def _names(text: str) -> set[str]:
    """Names to compare: `libjpeg / libjpeg-turbo` and `libjpeg` are both `jpeg`."""
    words = (word.strip().lower().removeprefix("lib") for word in text.split("/"))
    return {word.partition("-")[0].rstrip("0123456789.") for word in words}
