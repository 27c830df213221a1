"""Package URLs: names of packages that scanners of all vendors understand.

Source: the package URL specification (purl-spec) and its types deb, pypi, oci and generic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from enginecrate.errors import MissingExtra

__all__ = ["purl", "wheel_name", "without_qualifiers"]


def purl(
    kind: str,
    namespace: str,
    name: str,
    version: str,
    qualifiers: Mapping[str, str] | None = None,
) -> str:
    """The canonical text of a package URL; empty parts and qualifiers are left out."""
    try:
        from packageurl import PackageURL
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    kept = {key: value for key, value in sorted((qualifiers or {}).items()) if value}
    return PackageURL(kind, namespace or None, name, version or None, kept or None).to_string()


def wheel_name(name: str) -> str:
    """A Python package's name as indexes compare it. Source: PyPA, "Name normalization"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def without_qualifiers(text: str) -> str:
    """Type, namespace, name and version of a package URL."""
    return re.split(r"[?#]", text, maxsplit=1)[0]
