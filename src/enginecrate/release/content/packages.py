"""Packages that an image holds, and those that its SBOM names: both as `deb/libc6 2.36-9`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import unquote

from enginecrate.errors import ReleaseInvalid
from enginecrate.values import canonical_name

__all__ = ["installed_packages", "named_packages", "package_problems"]

_STATUS = "var/lib/dpkg/status"
_PURL = re.compile(r"pkg:(deb|pypi)/(?:[^/@?]+/)?([^/@?]+)@([^?#]+)")
_SHOWN = 5
_KIND = "io.enginecrate.kind"
"""Property of a component in CycloneDX; `vendored`: a library inside of a wheel."""


def installed_packages(kept: dict[str, bytes]) -> set[str]:
    """The packages in dpkg's status file and the wheels' metadata.

    kept: bytes of files by path.
    """
    packages: set[str] = set()
    for path, data in kept.items():
        if path == _STATUS or path.startswith(f"{_STATUS}.d/"):
            packages.update(_debs(data))
        if path.endswith(".dist-info/METADATA"):
            headers = BytesHeaderParser().parsebytes(data)
            packages.add(f"pypi/{canonical_name(str(headers['Name']))} {headers['Version']}")
    return packages


def named_packages(sbom: bytes, where: str) -> set[str]:
    """The package URLs of an SBOM, in CycloneDX or SPDX.

    Libraries inside of wheels are left out: they are named, but no package manager installed them.

    Raises:
        ReleaseInvalid: it is not JSON.
    """
    try:
        document = json.loads(sbom)
    except (ValueError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not JSON: {exc}") from exc
    return set(_purls(document, _inside_of_packages(document)))


def package_problems(title: str, named: set[str], installed: set[str]) -> list[str]:
    """One sentence for packages that an SBOM leaves out, one for those that are not there."""
    problems = []
    for words, packages in (
        ("does not name what the image holds", installed - named),
        ("names what the image does not hold", named - installed),
    ):
        if packages:
            shown = ", ".join(sorted(packages)[:_SHOWN])
            more = f" and {len(packages) - _SHOWN} more" if len(packages) > _SHOWN else ""
            problems.append(f"{title} {words}: {shown}{more}")
    return problems


def _debs(status: bytes) -> Iterator[str]:
    for paragraph in re.split(rb"\n\n+", status):
        fields = dict(re.findall(rb"(?m)^(Package|Version|Status): *(.*?) *$", paragraph))
        if b"Package" in fields and b"not-installed" not in fields.get(b"Status", b""):
            name, version = (fields.get(key, b"").decode() for key in (b"Package", b"Version"))
            yield f"deb/{name} {version}"


def _inside_of_packages(document: Any) -> set[str]:
    """In SPDX: ids of what a Debian or Python package contains."""
    if not isinstance(document, dict):
        return set()
    packages = {
        one.get("SPDXID") for one in _objects(document, "packages") if any(_purls(one, set()))
    }
    return {
        str(one.get("relatedSpdxElement"))
        for one in _objects(document, "relationships")
        if one.get("relationshipType") == "CONTAINS" and one.get("spdxElementId") in packages
    }


def _objects(document: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    listed = document.get(key)
    return (one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict))


def _is_vendored(entry: dict[str, Any]) -> bool:
    return any(
        one.get("name") == _KIND and one.get("value") == "vendored"
        for one in _objects(entry, "properties")
    )


def _purls(document: Any, left_out: Collection[str]) -> Iterator[str]:
    stack = [document]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if not _is_vendored(value) and str(value.get("SPDXID")) not in left_out:
                stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str) and (match := _PURL.fullmatch(value.partition("?")[0])):
            kind, name, version = match[1], unquote(match[2]), unquote(match[3])
            yield f"{kind}/{canonical_name(name) if kind == 'pypi' else name} {version}"
