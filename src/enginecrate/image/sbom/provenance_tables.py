"""The origins of a project's files, as its `PROVENANCE.md` gives them.

Tables of Markdown are read whose head names a column `file` and at least one of `licence`,
`source` and `photo by` (or `author`); paths stand in backquotes. Everything else is for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enginecrate.image.sbom.licences import LicenceTexts, spdx_id

__all__ = ["FileOrigin", "read_origins"]

_PATH = re.compile(r"`([^`]+)`")
_RULE = re.compile(r"[\s|:-]+")
_ESCAPED = "\x00"
_COLUMNS = {
    "author": "author",
    "by": "author",
    "licence": "licence",
    "license": "licence",
    "photo by": "author",
    "source": "source",
}


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """The origin of one file. licence: an SPDX expression; the others are free text."""

    licence: str = ""
    source: str = ""
    author: str = ""


def read_origins(text: str, texts: LicenceTexts) -> Mapping[str, FileOrigin]:
    """Origins by path. `texts` grows by licences that SPDX has no name for."""
    origins: dict[str, FileOrigin] = {}
    for head, row in _rows(text):
        cells = {
            _COLUMNS[name]: cell for name, cell in zip(head, row, strict=False) if name in _COLUMNS
        }
        path = _PATH.search(dict(zip(head, row, strict=False)).get("file", ""))
        if path and cells:
            origins[path[1]] = FileOrigin(
                licence=_licence(cells.get("licence", ""), texts),
                source=_plain(cells.get("source", "")),
                author=_plain(cells.get("author", "")),
            )
    return origins


def _rows(text: str) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Each row of each table with the names of its columns."""
    head: Sequence[str] = ()
    for line in text.splitlines():
        if not line.strip().startswith("|"):
            head = ()
        elif not head:
            head = [cell.lower() for cell in _cells(line)]
        elif not _RULE.fullmatch(line.strip()):
            yield head, _cells(line)


def _cells(line: str) -> list[str]:
    cells = line.strip().replace("\\|", _ESCAPED).strip("|").split("|")
    return [cell.replace(_ESCAPED, "|").strip() for cell in cells]


def _plain(cell: str) -> str:
    return cell.replace("`", "").strip()


def _licence(cell: str, texts: LicenceTexts) -> str:
    """`CC BY 2.0, <https://...>` is CC-BY-2.0; what is more than a name stays as its text."""
    text = _plain(cell)
    if not text:
        return ""
    name = re.split(r"[,;:(<]", text, maxsplit=1)[0].strip()
    return spdx_id(name.replace(" ", "-")) or texts.add(f"stated-{text[:40]}", text)
