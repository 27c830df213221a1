"""Packages that an image holds, and those that its SBOM names: both as `deb/libc6 2.36-9`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import unquote

from enginecrate.errors import ReleaseInvalid

__all__ = ["installed_packages", "named_packages", "package_problems"]

_STATUS = "var/lib/dpkg/status"
_PURL = re.compile(r"pkg:(deb|pypi)/(?:[^/@?]+/)?([^/@?]+)@([^?#]+)")
_SHOWN = 5


def installed_packages(kept: dict[str, bytes]) -> set[str]:
    """From dpkg's status file and the wheels' metadata, by path."""
    found: set[str] = set()
    for path, data in kept.items():
        if path == _STATUS or path.startswith(f"{_STATUS}.d/"):
            found.update(_debs(data))
        if path.endswith(".dist-info/METADATA"):
            headers = BytesHeaderParser().parsebytes(data)
            found.add(f"pypi/{_normal(str(headers['Name']))} {headers['Version']}")
    return found


def named_packages(sbom: bytes, where: str) -> set[str]:
    """The package URLs of an SBOM, in CycloneDX or SPDX.

    Raises:
        ReleaseInvalid: it is not JSON.
    """
    try:
        document = json.loads(sbom)
    except (ValueError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not JSON: {exc}") from exc
    return set(_purls(document))


def package_problems(title: str, named: set[str], installed: set[str]) -> list[str]:
    """What an SBOM leaves out, and what it names that is not there."""
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


def _purls(document: Any) -> Iterator[str]:
    stack = [document]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
        elif isinstance(one, str) and (match := _PURL.fullmatch(one.partition("?")[0])):
            kind, name, version = match[1], unquote(match[2]), unquote(match[3])
            yield f"{kind}/{_normal(name) if kind == 'pypi' else name} {version}"


def _normal(name: str) -> str:
    """As PEP 503 compares names of Python packages."""
    return re.sub(r"[-_.]+", "-", name).lower()
