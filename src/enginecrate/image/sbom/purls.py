"""Package URLs: names of packages that scanners of all vendors understand.

Source: the package URL specification (purl-spec) and its types deb, pypi, oci and generic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from enginecrate.errors import MissingExtra

__all__ = ["purl", "sound_purl", "sound_url", "without_qualifiers"]

_URL = re.compile(r"https?://[^\s<>\"{}|\\^`\[\]]+")


def purl(
    kind: str,
    namespace: str,
    name: str,
    version: str,
    qualifiers: Mapping[str, str] | None = None,
) -> str:
    """The canonical text of a package URL; empty parts and qualifiers are left out."""
    kept = {key: value for key, value in sorted((qualifiers or {}).items()) if value}
    package_url = _type()(kind, namespace or None, name, version or None, kept or None)
    return str(package_url.to_string())


def sound_purl(text: str) -> str:
    """A package URL that others wrote; empty when it is none."""
    try:
        return str(_type().from_string(text).to_string())
    except ValueError:
        return ""


def sound_url(text: str) -> str:
    """A web address that a package gives; empty when it is none."""
    return text if _URL.fullmatch(text) else ""


def _type() -> Any:
    try:
        from packageurl import PackageURL
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    return PackageURL


def without_qualifiers(text: str) -> str:
    """Type, namespace, name and version of a package URL."""
    return re.split(r"[?#]", text, maxsplit=1)[0]
