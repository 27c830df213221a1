"""Names of licences, as Debian and Python packages write them, as SPDX expressions.

Nothing is guessed: a name that SPDX does not have becomes a `LicenseRef-...` with the text that the
package gives for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from enginecrate.errors import MissingExtra

__all__ = [
    "LicenceTexts",
    "all_of",
    "any_of",
    "debian_id",
    "is_expression",
    "parse_expression",
    "spdx_id",
]

_DEBIAN = {
    "apache-2": "Apache-2.0",
    "artistic-2": "Artistic-2.0",
    "bsd-2-clauses": "BSD-2-Clause",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "mpl-1.1": "MPL-1.1",
    "mpl-2": "MPL-2.0",
    "zlib/libpng": "Zlib",
}
_GNU = re.compile(r"(A?GPL|LGPL|GFDL)-?v?(\d(?:\.\d+)?)(\+|-or-later|-only)?", re.IGNORECASE)
_REF = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


class LicenceTexts:
    """Texts of licences that have no SPDX identifier; the same text gets one name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def add(self, name: str, text: str) -> str:
        """The `LicenseRef-...` of a text; `name` says what it is, for people."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in self._names:
            slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:60] or "unnamed"
            reference = f"LicenseRef-{slug}-{digest[:8]}"
            self._names[digest], self._texts[reference] = reference, text
        return self._names[digest]

    def used_in(self, expressions: Iterable[str]) -> Mapping[str, str]:
        """The texts of those that these expressions name, sorted."""
        used = {name for expression in expressions for name in _REF.findall(expression)}
        return {name: self._texts[name] for name in sorted(used & self._texts.keys())}


def spdx_id(name: str) -> str:
    """The SPDX identifier that is written like this but for upper and lower case, or `""`."""
    try:
        from cyclonedx.spdx import fixup_id
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    return fixup_id(name.strip()) or ""


def debian_id(name: str) -> str:
    """The SPDX identifier of a short name of Debian's copyright format, or `""`.

    Source: Debian, "Machine-readable debian/copyright file" 1.0, "License short name".
    """
    name = name.strip()
    if match := _GNU.fullmatch(name):
        family, version, suffix = match.groups()
        version = version if "." in version else f"{version}.0"
        kind = "or-later" if suffix in ("+", "-or-later") else "only"
        return spdx_id(f"{family}-{version}-{kind}")
    return _DEBIAN.get(name.lower()) or spdx_id(name)


@lru_cache(maxsize=4096)
def is_expression(text: str) -> bool:
    """True if `text` is an SPDX expression of licences that SPDX knows."""
    licensing = _licensing()
    from license_expression import ExpressionError  # type: ignore[import-untyped]

    try:
        return licensing.parse(text, validate=True, strict=True) is not None
    except ExpressionError:
        return False


def parse_expression(text: str) -> Any:
    """An expression as spdx-tools wants it; names of ours (`LicenseRef-...`) are taken."""
    return _licensing().parse(text)


@cache
def _licensing() -> Any:
    """SPDX's list, read once: that takes a tenth of a second."""
    try:
        from license_expression import get_spdx_licensing
    except ImportError as exc:
        raise MissingExtra("spdx-tools", extra="image") from exc
    return get_spdx_licensing()


def all_of(expressions: Iterable[str]) -> str:
    """One expression that asks for all of them; alternatives keep their brackets."""
    return _joined(" AND ", " OR ", expressions)


def any_of(expressions: Iterable[str]) -> str:
    """One expression that leaves the choice."""
    return _joined(" OR ", " AND ", expressions)


def _joined(word: str, other: str, expressions: Iterable[str]) -> str:
    parts = sorted(set(filter(None, expressions)))
    if len(parts) < 2:
        return "".join(parts)
    return word.join(f"({part})" if other in _outside_brackets(part) else part for part in parts)


def _outside_brackets(expression: str) -> str:
    while (shorter := re.sub(r"\([^()]*\)", "", expression)) != expression:
        expression = shorter
    return expression
