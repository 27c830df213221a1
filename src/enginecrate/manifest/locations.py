"""The location of a key in the manifest's text: its line and column, for messages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from enginecrate.manifest.faults import Key

__all__ = ["Locations", "escaped"]

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)|(?P<line>\n)"""
    r'''|(?P<text>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')'''
    r"""|(?P<mark>[][{}=,])|(?P<word>[^][{}=,\#"'\s]+)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of TOML. kind: `line`, `text`, `mark` or `word`."""

    kind: str
    text: str
    line: int
    column: int


class Locations:
    """Lines and columns of the keys of a TOML text, which is valid already.

    Keys of tables, inline tables and arrays are found: `("targets", "gpus", 1)` is the second
    element of a list.
    """

    def __init__(self, text: str) -> None:
        self._places: dict[Key, tuple[int, int]] = {}
        self._tokens = list(_tokens(text))
        self._index = 0
        self._read()

    def find(self, key: Key) -> tuple[int, int]:
        """Line and column of the key, or of the table around it; (0, 0) when neither is there."""
        for length in range(len(key), 0, -1):
            if place := self._places.get(key[:length]):
                return place
        return 0, 0

    def _read(self) -> None:
        table: Key = ()
        counts: dict[Key, int] = {}
        while self._index < len(self._tokens):
            token = self._tokens[self._index]
            if token.kind == "line":
                self._index += 1
            elif token.text == "[":
                double = self._peek(1) == "["
                self._index += 1 + double
                table = self._key(token, ())
                if double:
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                    self._places.setdefault(table, (token.line, token.column))
                self._skip_line()
            else:
                self._assignment(table)

    def _assignment(self, table: Key) -> None:
        key = self._key(self._tokens[self._index], table)
        if self._peek() == "=":
            self._index += 1
            self._value(key)
        else:
            self._index += 1

    def _key(self, start: Token, table: Key) -> Key:
        """A key with its dots, which is noted with all tables on its way."""
        names: list[str] = []
        while self._index < len(self._tokens) and self._peek_kind() in ("text", "word"):
            token = self._tokens[self._index]
            if token.kind == "text":
                names.append(_unquoted(token.text))
            else:
                names += [part for part in token.text.split(".") if part]
            self._index += 1
        key = table
        for name in names:
            key = (*key, name)
            self._places.setdefault(key, (start.line, start.column))
        return key

    def _value(self, key: Key) -> None:
        if self._peek() == "{":
            self._index += 1
            while self._index < len(self._tokens) and self._peek() != "}":
                if self._peek() in (",", "\n"):
                    self._index += 1
                else:
                    self._assignment(key)
            self._index += 1
        elif self._peek() == "[":
            self._index += 1
            self._elements(key)
        else:
            while self._index < len(self._tokens) and self._peek() not in (",", "]", "}", "\n"):
                self._index += 1

    def _elements(self, key: Key) -> None:
        number = 0
        while self._index < len(self._tokens) and self._peek() != "]":
            if self._peek() in (",", "\n"):
                self._index += 1
                continue
            token = self._tokens[self._index]
            self._places.setdefault((*key, number), (token.line, token.column))
            before = self._index
            self._value((*key, number))
            self._index += self._index == before
            number += 1
        self._index += 1

    def _peek(self, ahead: int = 0) -> str:
        index = self._index + ahead
        return self._tokens[index].text if index < len(self._tokens) else ""

    def _peek_kind(self) -> str:
        return self._tokens[self._index].kind

    def _skip_line(self) -> None:
        while self._index < len(self._tokens) and self._peek_kind() != "line":
            self._index += 1


def escaped(text: str) -> str:
    """Text of a manifest as it may be shown: what is not visible becomes an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _tokens(text: str) -> Iterator[Token]:
    line, start, position = 1, 0, 0
    while match := _TOKEN.match(text, position):
        kind, piece = match.lastgroup or "", match[0]
        if kind != "space":
            yield Token(kind, piece, line, position - start + 1)
        if breaks := piece.count("\n"):
            line += breaks
            start = position + piece.rindex("\n") + 1
        position = match.end()


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text[1:-1]
    return str(tomllib.loads(f"x = {text}")["x"])
