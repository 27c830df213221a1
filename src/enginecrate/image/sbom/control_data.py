"""Debian's control data: `dpkg`'s status, copyright files, fields of dependencies.

Source: Debian Policy, chapter 5 (control files) and 7 (relationships); deb822(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["named_packages", "paragraphs", "provided_packages"]

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*", re.IGNORECASE)


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """Fields of each paragraph; names in lower case, continued lines joined by newlines."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += "\n" + line[1:]
        elif not line.startswith("#") and ":" in line:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()
    if fields:
        yield fields


def named_packages(field: str) -> Iterator[tuple[str, ...]]:
    """The alternatives of each dependency: `libc6 (>= 2.34), a | b` gives `libc6`; `a`, `b`."""
    for dependency in field.split(","):
        alternatives = tuple(
            name[0] for choice in dependency.split("|") if (name := _NAME.match(choice.strip()))
        )
        if alternatives:
            yield alternatives


def provided_packages(field: str) -> Iterator[str]:
    """Names in a `Provides` field."""
    return (name for names in named_packages(field) for name in names)
