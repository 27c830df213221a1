"""The table of tokens: the forms that services document for the keys that they issue."""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec

from enginecrate.image.audit.rules.rule_data import read_table

__all__ = ["TokenForm", "load_tokens", "long_words"]

_LEAST = 20
"""Every token has a word of this length around its anchor."""
_CHUNK = 1 << 16
_OVERLAP = 512
_WORDS = bytes(
    code if code < 128 and (chr(code).isalnum() or chr(code) in "_.:~$=+/@-") else 32
    for code in range(256)
)


class TokenForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The form of the tokens of one issuer; data/tokens.toml explains the fields."""

    id: str
    what: str
    source: str
    anchors: tuple[str, ...]
    pattern: str
    checksum: str = ""
    scope: Literal["everywhere", "own"] = "everywhere"
    example: tuple[str, ...]
    near_miss: tuple[str, ...]


@cache
def load_tokens() -> tuple[TokenForm, ...]:
    """All forms, in their order."""
    return read_table("tokens.toml", dict[str, tuple[TokenForm, ...]])["tokens"]


def long_words(data: bytes) -> bytes:
    """The words that are long enough for a token, one a line: the little of a file to look at.

    Two hundred anchors are looked for in a twelfth of the bytes in place of all of them.
    """
    found: set[bytes] = set()
    for start in range(0, len(data), _CHUNK):
        words = data[start : start + _CHUNK + _OVERLAP].translate(_WORDS).split()
        found.update([word for word in words if len(word) >= _LEAST])
    return b"\n".join(found)
