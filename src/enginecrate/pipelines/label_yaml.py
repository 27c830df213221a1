"""The class names of Ultralytics' `data.yaml`: the key `names` alone, in its four forms.

A strict reader of this one key, since labels are read inside the image, too, where a whole YAML
library would be one more package to watch. Anchors, tags, and texts over several lines are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from enginecrate.pipelines.label_lines import in_order

__all__ = ["YAML_NAMES", "yaml_names"]

YAML_NAMES = re.compile(r"(?m)^names[ \t]*:(?=\s|$)")

_ENTRY = re.compile(r"""(?P<key>\d{1,6}|"\d{1,6}"|'\d{1,6}')\s*:(?:\s+(?P<name>.*))?""")
_SCALAR = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^']|'')*)'|(?P<plain>[^,\[\]{}"'#][^,\[\]{}]*))\s*"""
)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


def yaml_names(text: str) -> list[str]:
    """The names, by class.

    Raises:
        ValueError: there is no `names`, or it is of a form that is not read; a sentence.
    """
    lines = re.split(r"\r\n|\n|\r", text)
    start = next((index for index, line in enumerate(lines) if YAML_NAMES.match(line)), None)
    if start is None:
        return _block([line for line in lines if line.strip() not in ("---", "...")])
    first = _comment_off(lines[start].partition(":")[2])
    if first[:1] in ("[", "{"):
        return _inline(_gathered(first, lines[start + 1 :]))
    if first:
        raise ValueError(f"names is {first[:40]!r}: write a list of names below it")
    return _block(_indented(lines[start + 1 :]))


def _indented(lines: Sequence[str]) -> list[str]:
    """The lines that belong to a key: indented ones, and `-` without an indent."""
    block = []
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t", "-", "#")):
            break
        block.append(line)
    return block


def _gathered(first: str, more: Sequence[str]) -> str:
    """An inline list, which may go on over several lines."""
    closing = "]" if first[0] == "[" else "}"
    parts = [first]
    for line in more:
        if parts[-1].rstrip().endswith(closing):
            break
        parts.append(_comment_off(line))
    return " ".join(parts).strip()


def _inline(text: str) -> list[str]:
    if text[-1] != ("]" if text[0] == "[" else "}"):
        raise ValueError("the list of names does not end")
    body, mapping = text[1:-1].strip().rstrip(","), text[0] == "{"
    entries: list[tuple[int, str]] = []
    position = 0
    while position < len(body):
        number = len(entries)
        if mapping:
            key = re.compile(r"""\s*["']?(\d{1,6})["']?\s*:\s*""").match(body, position)
            if key is None:
                raise ValueError(f"names has no number at {body[position : position + 30]!r}")
            number, position = int(key[1]), key.end()
        match = _SCALAR.match(body, position)
        if match is None or body[match.end() : match.end() + 1] not in ("", ","):
            raise ValueError(f"names cannot be read at {body[position : position + 30]!r}")
        entries.append((number, _text(match)))
        position = match.end() + 1
    return _ordered(entries)


def _block(lines: Sequence[str]) -> list[str]:
    entries: list[tuple[int, str]] = []
    listed = numbered = 0
    for line in lines:
        content = _comment_off(line).strip()
        if not content:
            continue
        if re.match(r"-(\s|$)", content):
            listed += 1
            entries.append((len(entries), _plain(content[1:].strip())))
        elif entry := _ENTRY.fullmatch(content):
            numbered += 1
            entries.append((int(entry["key"].strip("\"'")), _plain((entry["name"] or "").strip())))
        else:
            raise ValueError(
                f"it has no 'names', or the line {content[:40]!r} is none of '- person' and "
                "'0: person'"
            )
    if listed and numbered:
        raise ValueError("names is a list and a table at once")
    return _ordered(entries)


def _ordered(entries: Sequence[tuple[int, str]]) -> list[str]:
    names = dict(entries)
    if len(names) < len(entries):
        raise ValueError("a number of names stands there twice")
    return in_order(names)


def _plain(text: str) -> str:
    match = _SCALAR.fullmatch(text) if text[:1] in "\"'" else None
    if match is not None and text:
        return _text(match)
    if text[:1] in ("&", "*", "!", "|", ">", "[", "{", '"', "'"):
        raise ValueError(f"the name {text[:40]!r} is written in a form that is not read")
    return text


def _text(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), match["double"]).strip()
    if match["single"] is not None:
        return match["single"].replace("''", "'").strip()
    return match["plain"].strip()


def _comment_off(line: str) -> str:
    """The line without a comment: `#` at its start or after a space, outside of quotes."""
    quote = ""
    for index, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and (index == 0 or line[index - 1] in " \t[{,:-"):
            quote = char
        elif char == "#" and (index == 0 or line[index - 1] in " \t"):
            return line[:index].strip()
    return line.strip()
