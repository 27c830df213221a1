"""The forms in which tools write class names: which one a text has, and its names.

Evidence decides, never the ending of the file's name alone; what looks like a form and does not
follow it is named, so that nothing of a form is taken for a name.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.errors import LabelsInvalid
from enginecrate.pipelines.label_lines import in_order, numbered_names, plural_stem
from enginecrate.pipelines.label_yaml import YAML_NAMES, yaml_names

__all__ = ["parse_names"]

_INSIDE = ("names", "id2label", "labels", "classes", "class_names", "categories", "thing_classes")
"""Keys of larger files that hold the names."""

_HEADER_WORDS = {
    "name", "names", "label", "labels", "class", "classes", "class_name", "classname",
    "display_name", "category", "id", "index", "idx", "class_id", "number", "no",
}  # fmt: skip
_NAME_COLUMNS = ("name", "display_name", "class_name", "classname", "label", "class", "category")

_QUOTED = re.compile(r"""(["'])(.*)\1,?""")
_FOREIGN = (
    (re.compile(r"\s*(?:item|entry)\s*\{"), "a label map of TensorFlow (pbtxt)"),
    (re.compile(r"\s*<[?!a-zA-Z]"), "XML or HTML"),
    (re.compile(r"(?m)^\s*names\s*=\s*\S+"), "a darknet .data file, which names a file of names"),
    (re.compile(r"%YAML|---\s"), "YAML without a key 'names'"),
)
_LONGEST_LITERAL = 1 << 20


def parse_names(text: str, path: Path) -> list[str]:
    """The names in a text, in the order of their classes; names may still be empty or equal.

    Raises:
        LabelsInvalid: the text looks like a form, and does not follow it.
    """
    start = text.lstrip()[:1]
    is_json = path.suffix.lower() == ".json"
    if is_json or start in ("[", "{"):
        names = _literal_names(text, path, must=is_json)
        if names is not None:
            return names
    if YAML_NAMES.search(text) or path.suffix.lower() in (".yaml", ".yml"):
        try:
            return yaml_names(text)
        except ValueError as exc:
            raise LabelsInvalid(f"{path}: this looks like YAML, but {exc}") from exc
    for pattern, kind in _FOREIGN:
        if pattern.match(text) or (kind.startswith("a darknet") and pattern.search(text)):
            raise LabelsInvalid(f"{path}: this looks like {kind}; write one class name a line")
    return _line_names(text, path)


def _literal_names(text: str, path: Path, *, must: bool) -> list[str] | None:
    """Names of a JSON text or a Python literal; `None`: it is neither, and need not be."""
    try:
        content: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        content = _python_literal(text)
        if content is None:
            if must or _begins_like_literal(text):
                raise LabelsInvalid(f"{path}: not valid JSON: {exc}") from exc
            return None
    return _names_of(content, path)


def _begins_like_literal(text: str) -> bool:
    """True for `["cat"`, `{"0"`, `[` alone; `[background]` is a name."""
    return bool(re.match(r"""\s*(?:\[\s*(?:["'\[{]|$)|\{\s*(?:["'\d]|$))""", text, re.MULTILINE))


def _python_literal(text: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _names_of(content: Any, path: Path, *, nested: bool = False) -> list[str]:
    if isinstance(content, Mapping):
        inside = next((content[key] for key in _INSIDE if key in content), None)
        if isinstance(inside, list | dict) and not nested:
            return _names_of(inside, path, nested=True)
        return _numbered(content, path)
    if not isinstance(content, list | tuple):
        raise LabelsInvalid(
            f"{path}: must hold a list of class names in the order of the model's classes, as "
            f'["cat", "dog"]; found {_kind(content)}'
        )
    if content and all(isinstance(item, Mapping) and "name" in item for item in content):
        return _numbered(
            {item.get("id", place): item["name"] for place, item in enumerate(content)}, path
        )
    for index, label in enumerate(content):
        if not isinstance(label, str) or not label.strip():
            raise LabelsInvalid(
                f"{path}: entry {index} must be a class name, found {label!r}; "
                "name every class, for example 'unused'"
            )
    return [label.strip() for label in content]


def _numbered(content: Mapping[Any, Any], path: Path) -> list[str]:
    """Names of `{"0": "person"}`, `{"person": 0}` or `{"0": ["n01440764", "tench"]}`."""
    whole = [type(value) is int for value in content.values()]
    if whole and all(whole) and not all(_is_number(key) for key in content):
        content = {value: key for key, value in content.items()}
    if not content or not all(_is_number(key) for key in content):
        raise LabelsInvalid(
            f'{path}: must hold a list of class names, as ["cat", "dog"], or names by their '
            'numbers, as {"0": "cat", "1": "dog"}; found an object with the keys '
            f"{', '.join(repr(str(key)[:30]) for key in list(content)[:4]) or 'of none'}"
        )
    names: dict[int, str] = {}
    for key, value in content.items():
        name = value[-1] if isinstance(value, list | tuple) and len(value) == 2 else value
        if not isinstance(name, str) or not name.strip():
            raise LabelsInvalid(
                f"{path}: class {key} must have a name, found {value!r}; name every class, for "
                "example 'unused'"
            )
        names[int(key)] = name.strip()
    try:
        return in_order(names)
    except ValueError as exc:
        raise LabelsInvalid(f"{path}: {exc}") from exc


def _is_number(key: Any) -> bool:
    return type(key) is int or (isinstance(key, str) and bool(re.fullmatch(r"\s*\d{1,6}\s*", key)))


def _line_names(text: str, path: Path) -> list[str]:
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text.rstrip())]
    if lines == [""]:
        return []
    empty = [str(number) for number, line in enumerate(lines, start=1) if not line]
    if empty:
        lines_are = f"line {empty[0]} is" if len(empty) == 1 else f"lines {', '.join(empty)} are"
        raise LabelsInvalid(
            f"{path}, {lines_are} empty; every line names one class, so an empty one "
            "would move all that follow: name the class, for example 'unused'"
        )
    if len(lines) == 1 and (names := _one_line(lines[0])):
        return names
    try:
        names = _table(lines, headed=path.suffix.lower() in (".csv", ".tsv")) or numbered_names(
            lines
        )
    except ValueError as exc:
        raise LabelsInvalid(f"{path}: {exc}") from exc
    if names:
        return names
    if len(lines) > 1 and all(re.match(r"- +\S", line) for line in lines):
        lines = [line[1:].strip() for line in lines]
    quoted = [_QUOTED.fullmatch(line) for line in lines]
    return [match[2].strip() if match else line for match, line in zip(quoted, lines, strict=True)]


def _one_line(line: str) -> list[str]:
    """DeepStream's `person;car;dog`, and `person, car, dog`."""
    if re.fullmatch(r"\d+\s*[,;:]\s*[^,;]+", line):
        return numbered_names([line])
    for mark in (";", ",", "\t"):
        names = [name.strip() for name in line.rstrip(mark + " ").split(mark)]
        if len(names) > 1:
            return [match[2] if (match := _QUOTED.fullmatch(name)) else name for name in names]
    return []


def _table(lines: Sequence[str], *, headed: bool) -> list[str]:
    """The names of a table with a column of numbers; empty when the lines are none.

    Raises:
        ValueError: it is a table, and which column holds the names or their order is open.
    """
    for mark in ("\t", ";", ","):
        rows = _rows(lines, mark)
        width = len(rows[0]) if rows else 0
        if len(rows) < 2 or width < 2 or any(len(row) != width for row in rows):
            continue
        header = _header(rows)
        body = rows[1:] if header else rows
        number = _number_column(body, header)
        if number is not None:
            return _column(body, header, number)
        if headed or header or mark in "\t;":
            raise ValueError(
                f"this looks like a table with {width} columns and no column that numbers the "
                "classes from 0; write one class name a line, or number them"
            )
    if headed and len(lines) > 1 and lines[0].strip("\"'").lower() in _HEADER_WORDS:
        return [_unquoted(line) for line in lines[1:]]
    return []


def _rows(lines: Sequence[str], mark: str) -> list[list[str]]:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
    except csv.Error as exc:
        raise ValueError(f"this looks like a table that is not CSV: {exc}") from exc
    return [row for row in rows if row]


def _unquoted(line: str) -> str:
    match = _QUOTED.fullmatch(line)
    return match[2].strip() if match else line


def _header(rows: Sequence[Sequence[str]]) -> list[str]:
    words = [cell.lower().replace(" ", "_") for cell in rows[0]]
    known = sum(word in _HEADER_WORDS for word in words)
    return words if known and not any(cell.isdigit() for cell in rows[0]) else []


def _number_column(body: Sequence[Sequence[str]], header: Sequence[str]) -> int | None:
    for column in range(len(body[0]) if body else 0):
        cells = [row[column] for row in body]
        named = bool(header) and header[column] in {"id", "index", "idx", "class_id", "number"}
        if all(re.fullmatch(r"\d{1,6}", cell) for cell in cells) and (
            named or sorted(map(int, cells)) in _counted(len(cells))
        ):
            return column
    return None


def _counted(length: int) -> Iterable[list[int]]:
    return list(range(length)), list(range(1, length + 1))


def _column(body: Sequence[Sequence[str]], header: Sequence[str], number: int) -> list[str]:
    others = [column for column in range(len(body[0])) if column != number]
    wanted = next((header.index(word) for word in _NAME_COLUMNS if word in header), None)
    if wanted is None and len(others) > 1:
        raise ValueError(
            f"this looks like a table with {len(body[0])} columns; head the one with the class "
            "names 'name', or write one name a line"
        )
    column = others[0] if wanted is None or wanted == number else wanted
    numbers = [int(row[number]) for row in body]
    if len(set(numbers)) < len(numbers):
        raise ValueError("this looks like a table of classes, and a number stands there twice")
    stems = {plural_stem(row[column]) for row in body}
    if not header and len(stems) == 1 < len(body):
        return []
    return in_order(dict(zip(numbers, (row[column] for row in body), strict=True)))


def _kind(content: Any) -> str:
    kinds = {str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(content), "a number")
