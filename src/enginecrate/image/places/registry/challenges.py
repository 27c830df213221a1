"""What a registry wants to see before it answers: the header `WWW-Authenticate`.

Source: RFC 9110, 11.6.1; distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Challenge", "merge_scopes", "parse_challenges"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  the grammar's word
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?=\s|,|$)")
_LONGEST = 16 << 10


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate; `scheme` is in lower case, as are the names of parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a header; what does not follow the grammar ends the list."""
    header, position = header[:_LONGEST], 0
    found: list[Challenge] = []
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters = {}
        while parameter := _PARAMETER.match(header, position):
            quoted, plain = parameter[2], parameter[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters[parameter[1].lower()] = value
            position = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Scopes such as `repository:isv/app:pull`, with the actions on one resource put together."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        resource, _, wanted = scope.rpartition(":")
        if resource:
            actions.setdefault(resource, set()).update(filter(None, wanted.split(",")))
    return tuple(f"{name}:{','.join(sorted(actions[name]))}" for name in sorted(actions))
