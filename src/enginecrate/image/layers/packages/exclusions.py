"""Files of packages that stay out of images: a table of rules, `data/leave_out.toml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from enginecrate.image.layers.entries import key_of

__all__ = ["ExclusionRules", "default_exclusions"]


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Patterns of paths that are kept, or left out, of the packages whose names fit."""

    kind: Literal["deb", "wheel"]
    reason: str
    packages: str = "*"
    keep: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[_Rule, ...]


@dataclass(frozen=True, slots=True)
class ExclusionRules:
    """The rules in their order. `key`: a digest of all of them."""

    rules: tuple[_Rule, ...]
    key: str

    @classmethod
    def of(cls, rules: tuple[_Rule, ...]) -> ExclusionRules:
        return cls(rules, key_of("rules", msgspec.json.encode(rules)))

    def reason(self, kind: Literal["deb", "wheel"], package: str, path: str) -> str:
        """The reason for which a file is left out; empty when it is kept."""
        for rule in self.rules:
            if rule.kind != kind or not _matches(rule.packages, package):
                continue
            if any(_matches(pattern, path) for pattern in rule.keep):
                return ""
            if any(_matches(pattern, path) for pattern in rule.leave_out):
                return rule.reason
        return ""


@cache
def default_exclusions() -> ExclusionRules:
    """The rules that come with enginecrate."""
    data = resources.files(__package__).joinpath("data/leave_out.toml").read_bytes()
    return ExclusionRules.of(msgspec.toml.decode(data, type=_Table).rules)


def _matches(pattern: str, path: str) -> bool:
    return _regex(pattern).fullmatch(path) is not None


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stay within a part of the path; `**` crosses; `/**` at the end is optional."""
    body, tail = (pattern[:-3], "(?:/.*)?") if pattern.endswith("/**") else (pattern, "")
    head = ""
    if body.startswith("**/"):
        head, body = "(?:.*/)?", body[3:]
    parts = re.split(r"(\*\*|\*|\?|\[[^\]]+\])", body)
    signs = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    middle = "".join(
        signs.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts
    )
    return re.compile(head + middle + tail, re.DOTALL)
