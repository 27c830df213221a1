"""A scanner for secrets: by their form, with few false alarms. It never keeps what it finds."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import msgspec

from enginecrate.image.audit.rules.checksums import CHECKSUMS
from enginecrate.image.audit.rules.key_material import binary_secret, is_store_without_keys
from enginecrate.image.audit.rules.rule_data import read_table
from enginecrate.image.audit.rules.texts import as_utf8, is_binary
from enginecrate.image.audit.rules.tokens import TokenForm, load_tokens, long_words

__all__ = [
    "REDACTED",
    "Scanner",
    "SecretMatch",
    "is_placeholder",
    "load_scanner",
]

REDACTED = "[redacted]"
"""What stands in reports in place of a secret."""
_MOST_MATCHES = 20
"""The most matches in one file; more say nothing new."""
_FILE_RULES = ("EC-IMG-032",)
_WEAK_RULES = ("EC-IMG-033", "EC-IMG-034")
_LAST_RULES = ("EC-IMG-057",)
"""Rules that tell of a file for its name; every other rule knows more."""
_BINARY_FORMS = {"key": ("binary-key", "EC-IMG-030"), "store": ("key-store", "EC-IMG-032")}
_TOKEN_RULE = "EC-IMG-031"  # noqa: S105 - the id of a rule
_TOKEN_ENTROPY = 3.0
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
    unchanged: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: tuple[_SecretKind, ...]
    packages: _Packages
    allowed: tuple[_Allowed, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Compiled:
    """A kind, ready to be looked for. `words`: its anchors stand in long words alone."""

    kind: _SecretKind
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    path: re.Pattern[str] | None
    any_case: bool
    words: bool = False
    is_issued: Callable[[bytes], bool] = CHECKSUMS[""]


def _compiled(kind: _SecretKind) -> _Compiled:
    return _Compiled(
        kind,
        tuple(anchor.encode() for anchor in kind.anchors),
        re.compile(kind.pattern.encode()),
        re.compile(kind.path) if kind.path else None,
        any_case=kind.pattern.startswith("(?i"),
    )


def _compiled_token(form: TokenForm) -> _Compiled:
    kind = _SecretKind(
        id=form.id, rule=_TOKEN_RULE, what=form.what, anchors=form.anchors,
        pattern=f"(?<![A-Za-z0-9])(?P<value>{form.pattern})(?![A-Za-z0-9])",
        entropy=_TOKEN_ENTROPY, scope=form.scope, binary=True,
    )  # fmt: skip
    return replace(_compiled(kind), words=True, is_issued=CHECKSUMS[form.checksum])


class Scanner:
    """A scanner for the kinds of secrets of a table. Thread-safe."""

    def __init__(self, table: _Table, tokens: Sequence[TokenForm] = ()) -> None:
        kinds = [*map(_compiled_token, tokens), *map(_compiled, table.kinds)]
        self._kinds = sorted(kinds, key=lambda one: one.kind.rule)  # the surest first
        self._groups = {
            (own, binary): [
                one
                for one in self._kinds
                if (own or one.kind.scope == "everywhere") and (one.kind.binary or not binary)
            ]
            for own in (True, False)
            for binary in (True, False)
        }
        self._paths = _any_of([kind.path for kind in table.kinds if kind.path])
        self._package = _any_of(table.packages.paths)
        self._allowed = [(re.compile(one.path), one) for one in table.allowed]

    def search_file(
        self,
        path: str,
        data: bytes,
        rules: Collection[str] | None = None,
        *,
        proven: bool = True,
    ) -> Sequence[SecretMatch]:
        """The secrets in a file of an image.

        Args:
            path: in the image, without a leading slash: it decides which kinds are looked for.
            data: the file's content. Texts in UTF-16 are searched as well.
            rules: that are of interest; default: all.
            proven: a token with a wrong checksum, which was never issued, does not count.
        """
        own = self._package.fullmatch(path) is None
        text = as_utf8(data)
        chosen = self._groups[own, is_binary(text)]
        if self._paths.fullmatch(path):
            chosen = [one for one in chosen if one.path is None or one.path.fullmatch(path)]
        else:
            chosen = [one for one in chosen if one.path is None]
        if rules is not None:
            chosen = [one for one in chosen if one.kind.rule in rules]
        matches = [*_binary_matches(data, rules), *_search(chosen, text, proven=proven)]
        if is_store_without_keys(data):
            matches = [one for one in matches if one.kind != "key-store"]
        return _without_repetition(matches)

    def search_text(self, text: str) -> Sequence[SecretMatch]:
        """The secrets in a value of a configuration: a variable, a label, a command.

        Such texts are written for this image: a token counts with a wrong checksum, too.
        """
        return self.search_bytes(text.encode("utf-8", "backslashreplace"))

    def search_bytes(self, data: bytes) -> Sequence[SecretMatch]:
        """The secrets in a value that may be binary, such as an extended attribute."""
        chosen = [one for one in self._kinds if one.path is None]
        return _without_repetition(list(_search(chosen, data, proven=False)))

    def search_name(self, name: str) -> Sequence[SecretMatch]:
        """The tokens in the name of a file; there are many names, and no other secrets in them."""
        chosen = [one for one in self._kinds if one.words]
        return list(_search(chosen, name.encode("utf-8", "backslashreplace"), proven=False))

    def redact(self, text: str) -> str:
        """The text with a mark in place of every secret in it."""
        data = text.encode("utf-8", "backslashreplace")
        words = long_words(data)
        for one in self._kinds:
            searched = words if one.words else data
            if one.path is None and (one.any_case or any(a in searched for a in one.anchors)):
                data = one.pattern.sub(partial(_masked, one), data)
        return data.decode("utf-8", "replace")

    def reason_to_allow(self, path: str, kind: str, *, unchanged: bool = False) -> str:
        """The reason why a match there is known to be no secret; empty when it counts.

        Args:
            path: of the file.
            kind: of the match.
            unchanged: the file is the one that an installed package brings.
        """
        for pattern, allowed in self._allowed:
            known = (unchanged or not allowed.unchanged) and pattern.fullmatch(path)
            if known and (not allowed.kinds or kind in allowed.kinds):
                return allowed.reason
        return ""


def _masked(compiled: _Compiled, match: re.Match[bytes]) -> bytes:
    if not _convinces(compiled, match, proven=False):
        return match[0]
    if "value" not in match.re.groupindex:
        return REDACTED.encode()
    start, end = match.start("value") - match.start(), match.end("value") - match.start()
    return match[0][:start] + REDACTED.encode() + match[0][end:]


@cache
def load_scanner() -> Scanner:
    """The scanner with the tables of this version."""
    return Scanner(read_table("secrets.toml", _Table), load_tokens())


def is_placeholder(value: bytes) -> bool:
    """True if a value only stands for a secret: `changeme`, `${TOKEN}`, `<password>`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in patterns))


def _binary_matches(data: bytes, rules: Collection[str] | None) -> Iterator[SecretMatch]:
    """The match of a file that is a key or a key store in a binary form."""
    found = binary_secret(data)
    if found is not None:
        kind, rule = _BINARY_FORMS[found[0]]
        if rules is None or rule in rules:
            yield SecretMatch(kind, rule, found[1], 1)


def _with_anchors(kinds: Sequence[_Compiled], data: bytes) -> Sequence[_Compiled]:
    """The few kinds that are worth a search: one of their anchors is there."""
    words, lower = long_words(data), data.lower()
    present = [
        one
        for one in kinds
        for anchor in one.anchors
        if anchor in (words if one.words else lower if one.any_case else data)
    ]
    # A token is one word: what is in no long word is nowhere.
    return [one for one in dict.fromkeys(present) if not one.words or one.pattern.search(words)]


def _search(kinds: Sequence[_Compiled], data: bytes, *, proven: bool) -> Iterator[SecretMatch]:
    lines: set[int] = set()
    for compiled in _with_anchors(kinds, data):
        line, counted = 1, 0
        for match in compiled.pattern.finditer(data):
            if not _convinces(compiled, match, proven=proven):
                continue
            line += data.count(b"\n", counted, match.start())
            counted = match.start()
            if line not in lines:
                lines.add(line)
                yield SecretMatch(compiled.kind.id, compiled.kind.rule, compiled.kind.what, line)
            if len(lines) >= _MOST_MATCHES:
                return


def _convinces(compiled: _Compiled, match: re.Match[bytes], *, proven: bool) -> bool:
    if "value" not in match.re.groupindex:
        return True
    value = match["value"]
    enough = _entropy(value) >= compiled.kind.entropy
    return enough and not is_placeholder(value) and (not proven or compiled.is_issued(value))


def _entropy(value: bytes) -> float:
    """Bits for each character, after Shannon."""
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _without_repetition(matches: list[SecretMatch]) -> Sequence[SecretMatch]:
    """Rules that speak of whole files tell of a file once, and the surest rule tells of it."""
    strong = any(one.rule not in (*_FILE_RULES, *_WEAK_RULES, *_LAST_RULES) for one in matches)
    files = any(one.rule in _FILE_RULES for one in matches)
    others = any(one.rule not in _LAST_RULES for one in matches)
    armoured = any(one.kind == "private-key" for one in matches)
    kept: list[SecretMatch] = []
    for match in matches:
        if match.kind == "private-key-base64" and armoured:
            continue  # the same key, without the line before it
        told = any(one.rule == match.rule for one in kept)
        if match.rule in _FILE_RULES and (strong or told):
            continue
        if match.rule in _LAST_RULES and (others or told):
            continue
        if match.rule in _WEAK_RULES and files:
            continue
        kept.append(match)
    return kept
