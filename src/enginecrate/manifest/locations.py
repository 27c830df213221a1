"""The location of a key in the manifest's text: its line, for messages."""

from __future__ import annotations

import re

from enginecrate.manifest.faults import Key

__all__ = ["location_of"]

_HEADER = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+")

_ASSIGNMENT = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[\w"'-]+)*)\s*=""")


def location_of(text: str, key: Key) -> str:
    """`line 7, model.path`: the line of the key, or of its table when the key is not there."""
    names = [str(part) for part in key]
    dotted = ".".join(names)
    lines = _key_lines(text)
    for length in range(len(names), 0, -1):
        line = lines.get(tuple(names[:length]))
        if line is not None:
            return f"line {line}, {dotted}"
    return dotted


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """First line of each table and key.

    An index for messages, not a TOML parser: keys inside inline tables and look-alikes inside
    multi-line strings do not matter here.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _names(header[1])
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_names(assignment[1])), number)
    return lines


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
