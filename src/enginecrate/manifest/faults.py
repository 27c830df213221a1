"""Faults of a parsed manifest: every one of them, where a conversion would stop at the first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from enginecrate.errors import nearest

__all__ = ["Fault", "Key", "schema_faults", "without", "written_faults"]

Key = tuple[str | int, ...]

Fault = tuple[Key, str]
"""A key, and what is wrong there with the cure."""

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, separators of lines, and marks of writing direction."""

_LARGEST = 2**63 - 1

_WORDS = {
    "`bool | int | float | array`": "a number, true or false, or a list of these",
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    "`null`": "nothing",
}


def schema_faults(
    kind: type[msgspec.Struct], table: Mapping[str, Any], key: Key
) -> Iterator[Fault]:
    """Every fault in a table, key by key."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in table:
        if name not in fields:
            yield (*key, name), f"unknown key{nearest(name, fields) or _known(fields)}"
    for name, field in fields.items():
        location = (*key, name)
        if name not in table:
            if field.required:
                yield location, f"is missing{_advice(field.type, name)}"
            continue
        value, inner = table[name], _struct(field.type)
        if inner is not None and isinstance(value, Mapping):
            yield from schema_faults(inner, value, location)
            continue
        if message := _value_fault(value, field.type, name):
            yield location, message


def written_faults(value: Any, key: Key = ()) -> Iterator[Fault]:
    """Texts and numbers that no key may have, wherever they stand.

    Texts become labels of images and names of files, and are shown in terminals.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if found := _UNFIT.search(name):
                yield (*key, name), f"is a key with a control character ({_shown(found)})"
            yield from written_faults(inner, (*key, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from written_faults(inner, (*key, index))
    elif isinstance(value, str) and (found := _UNFIT.search(value)):
        yield key, f"must be one line of text, without control characters; found {_shown(found)}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, f"must be a number, found {value}"
    elif isinstance(value, int) and abs(value) > _LARGEST:
        yield key, f"must be a number of a usual size, found one of {len(str(value))} digits"


def without(table: Mapping[str, Any], faults: Iterable[Fault]) -> dict[str, Any]:
    """The table without what has a fault, so that the rest can be examined."""
    copy: dict[str, Any] = _copied(table)
    for key, _ in faults:
        parent: Any = copy
        for name in key[:-1]:
            inside = parent.get(name) if isinstance(parent, dict) else None
            if not isinstance(inside, dict):
                break
            parent = inside
        else:
            parent.pop(key[-1], None)
            continue
        parent.pop(key[key.index(name)], None)
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return value


def _shown(found: re.Match[str]) -> str:
    return ascii(found[0])


def _value_fault(value: Any, kind: Any, name: str) -> str:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        choices = _choices(kind)
        if choices and isinstance(value, str):
            return f"must be one of {', '.join(choices)}, found {value!r}{nearest(value, choices)}"
        message, _, path = str(exc).partition(" - at `")
        where = path.removeprefix("$").rstrip("`")
        return f"{f'{where}: ' if where else ''}{_plain(message)}{_advice(kind, name)}"
    return ""


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    """The table type inside `X`, `X | None` or `Annotated[X, ...]`, if it is one."""
    if get_origin(kind) is Annotated:
        return _struct(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        structs = [_struct(option) for option in get_args(kind)]
        return next((struct for struct in structs if struct is not None), None)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _choices(kind: Any) -> tuple[str, ...]:
    """The texts that a `Literal`, or an annotated one, allows."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    return get_args(kind) if get_origin(kind) is Literal else ()


def _metas(kind: Any) -> Iterator[msgspec.Meta]:
    if get_origin(kind) is Annotated:
        yield from (extra for extra in get_args(kind)[1:] if isinstance(extra, msgspec.Meta))
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _metas(option)


def _advice(kind: Any, name: str) -> str:
    """The key's description and an example, from the schema itself."""
    parts = []
    for meta in _metas(kind):
        if meta.description:
            parts.append(f" ({meta.description})")
        if meta.examples:
            parts.append(f"; for example: {name} = {_toml(meta.examples[0])}")
    return "".join(parts)


def _toml(value: Any) -> str:
    """A value as TOML writes it: as JSON does, but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return msgspec.json.encode(value).decode()


def _known(fields: Mapping[str, Any]) -> str:
    return f"; known here: {', '.join(sorted(fields))}"


def _plain(message: str) -> str:
    """Put msgspec's message in a user's words: TOML has text, not `str`."""
    for technical, word in _WORDS.items():
        message = message.replace(technical, word)
    message = re.sub(r" \| nothing|nothing \| ", "", message)
    message = re.sub(r"text matching regex '.*'", "text of another form", message)
    message = message.replace(", got ", ", found ").replace("Object missing", "missing")
    return message[:1].lower() + message[1:]
