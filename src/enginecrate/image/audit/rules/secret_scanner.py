"""A scanner for secrets: by their form, with few false alarms. It never keeps what it finds."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import msgspec

from enginecrate.image.audit.rules.rule_data import read_table

__all__ = [
    "Scanner",
    "SecretMatch",
    "is_placeholder",
    "load_scanner",
    "read_searchable",
]

_LARGEST_TEXT = 4 << 20
_LARGEST_BINARY = 1 << 20
_BEGINNING = 8192

_MOST_MATCHES = 20
"""The most matches in one file; more say nothing new."""
_FILE_RULES = ("EC-IMG-032",)
_WEAK_RULES = ("EC-IMG-033", "EC-IMG-034")
_PLACEHOLDER = re.compile(
    rb"""(?xi)
    [$<{%@\[*].* | .*(?:\$\{|\{\{|%\(|<[a-z]|\.\.\.).*
    | .*(?:x{4}|\*{3}|example|placeholder|change.?me|your|insert|dummy|sample|todo|fixme|redacted).*
    | (?:pass|passw(?:or)?d|pwd|secret|token|test(?:ing)?|foo|bar|foobar|user|admin|root|none|null
        |true|false|yes|no|hunter2|abc123|123456*|default|empty|unset|my.?(?:password|secret|token))
    | (.)\1* | (?:os|env|process|self|config|settings|args)[.\[(].* | /(?:[\w.-]+/)+[\w.-]+
    """
)


@dataclass(frozen=True, slots=True)
class SecretMatch:
    """The line of a secret, and never the secret. `line`: from 1. `rule`, `what`: of its kind."""

    kind: str
    rule: str
    what: str
    line: int


class _SecretKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The form of one kind of secret; data/secrets.toml explains the fields."""

    id: str
    rule: str
    what: str
    anchors: tuple[str, ...]
    pattern: str
    path: str = ""
    entropy: float = 0.0
    scope: Literal["everywhere", "own"] = "everywhere"
    binary: bool = False


class _Packages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    paths: tuple[str, ...]


class _Allowed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    reason: str
    kinds: tuple[str, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: tuple[_SecretKind, ...]
    packages: _Packages
    allowed: tuple[_Allowed, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    kind: _SecretKind
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    path: re.Pattern[str] | None
    any_case: bool


class Scanner:
    """A scanner for the kinds of secrets of a table. Thread-safe."""

    def __init__(self, table: _Table) -> None:
        self._kinds = [
            _Compiled(
                kind,
                tuple(anchor.encode() for anchor in kind.anchors),
                re.compile(kind.pattern.encode()),
                re.compile(kind.path) if kind.path else None,
                any_case=kind.pattern.startswith("(?i"),
            )
            for kind in table.kinds
        ]
        self._package = _any_of(table.packages.paths)
        self._allowed = [(re.compile(one.path), one) for one in table.allowed]

    def search_file(
        self, path: str, data: bytes, rules: Collection[str] | None = None
    ) -> Sequence[SecretMatch]:
        """The secrets in a file of an image.

        Args:
            path: in the image, without a leading slash: it decides which kinds are looked for.
            data: the file's content.
            rules: that are of interest; default: all.
        """
        own = self._package.fullmatch(path) is None
        binary = _is_binary(data)
        chosen = [
            one
            for one in self._kinds
            if (rules is None or one.kind.rule in rules)
            and (own or one.kind.scope == "everywhere")
            and (one.kind.binary or not binary)
            and (one.path is None or one.path.fullmatch(path))
        ]
        return _without_repetition(list(_search(chosen, data)))

    def search_text(self, text: str) -> Sequence[SecretMatch]:
        """The secrets in a value of a configuration: a variable, a label, a command."""
        chosen = [one for one in self._kinds if one.path is None]
        data = text.encode("utf-8", "surrogateescape")
        return _without_repetition(list(_search(chosen, data)))

    def reason_to_allow(self, path: str, kind: str) -> str:
        """The reason why a match there is known to be no secret; empty when it counts."""
        for pattern, allowed in self._allowed:
            if (not allowed.kinds or kind in allowed.kinds) and pattern.fullmatch(path):
                return allowed.reason
        return ""


@cache
def load_scanner() -> Scanner:
    """The scanner with the table of this version."""
    return Scanner(read_table("secrets.toml", _Table))


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def read_searchable(size: int, content: _Readable) -> bytes:
    """The bytes of a file that is searched; none of a larger one, which holds no keys.

    Args:
        size: of the file. Texts are searched up to 4 MiB, all else up to 1 MiB.
        content: of the file, from its beginning.
    """
    if not 0 < size <= _LARGEST_TEXT:
        return b""
    data = content.read(_BEGINNING)
    if _is_binary(data) and size > _LARGEST_BINARY:
        return b""
    return data + content.read()


def is_placeholder(value: bytes) -> bool:
    """True if a value only stands for a secret: `changeme`, `${TOKEN}`, `<password>`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def _is_binary(data: bytes) -> bool:
    return b"\0" in data[:_BEGINNING]


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in patterns))


def _search(kinds: Sequence[_Compiled], data: bytes) -> Iterator[SecretMatch]:
    lower = data.lower() if any(one.any_case for one in kinds) else data
    lines: set[int] = set()
    for compiled in kinds:
        searched = lower if compiled.any_case else data
        if not any(anchor in searched for anchor in compiled.anchors):
            continue
        for match in compiled.pattern.finditer(data):
            if not _convinces(compiled.kind, match):
                continue
            line = data.count(b"\n", 0, match.start()) + 1
            if line not in lines:
                lines.add(line)
                yield SecretMatch(compiled.kind.id, compiled.kind.rule, compiled.kind.what, line)
            if len(lines) >= _MOST_MATCHES:
                return


def _convinces(kind: _SecretKind, match: re.Match[bytes]) -> bool:
    if "value" not in match.re.groupindex:
        return True
    value = match["value"]
    return not is_placeholder(value) and _entropy(value) >= kind.entropy


def _entropy(value: bytes) -> float:
    """Bits for each character, after Shannon."""
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _without_repetition(matches: list[SecretMatch]) -> Sequence[SecretMatch]:
    """Rules that speak of whole files tell of a file once, and the surest rule tells of it."""
    strong = any(one.rule not in (*_FILE_RULES, *_WEAK_RULES) for one in matches)
    files = any(one.rule in _FILE_RULES for one in matches)
    kept: list[SecretMatch] = []
    for match in matches:
        if match.rule in _FILE_RULES and (strong or any(k.rule == match.rule for k in kept)):
            continue
        if match.rule in _WEAK_RULES and files:
            continue
        kept.append(match)
    return kept
