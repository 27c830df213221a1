"""Write what follows from the code: pages on settings, errors and the manifest, JSON Schemas.

`--check` writes nothing and ends with 1 when a page is out of date.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enginecrate.cli.shared.exit_codes import EXIT_CODES
from enginecrate.errors import EnginecrateError, error_classes
from enginecrate.image.recipe.bundled_files import IMAGE_DEFAULTS
from enginecrate.manifest import json_schema
from enginecrate.release.documents.statements import predicate_schemas
from enginecrate.server.http.error_answers import http_status
from enginecrate.settings import SETTINGS, Setting

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by `make reference` from the code; change it there. -->\n"


def settings_page() -> str:
    others = ", ".join(f"`{name} = {value}`" for name, value in sorted(IMAGE_DEFAULTS.items()))
    rows = [
        f"| `{row.name}` | `{row.environment}` | `{row.flag}` | {_default(row.default)} "
        f"| {'yes' if row.live else ''} | {row.help}{_choices(row)} |"
        for row in SETTINGS
    ]
    return "\n".join([
        "# Settings", "", NOTE,
        "Each setting has one name in three forms. The later of these wins: the default, the",
        "settings file (`enginecrate serve --settings FILE`, or the one that the variable",
        "`ENGINECRATE_SETTINGS` names; TOML), the environment, the flag. In an image",
        "`/etc/enginecrate/settings.toml` is read where it is there, and some defaults are others:",
        f"{others}.", "",
        "SIGHUP lets a running server read its settings again. Those marked with *yes* change at",
        "once; the log names the others that need a restart.", "",
        "| setting | environment | flag | default | SIGHUP | what it does |",
        "|---|---|---|---|---|---|", *rows, "",
    ])  # fmt: skip


def _default(value: Any) -> str:
    return f"`{value}`" if value != "" else ""


def _choices(setting: Setting) -> str:
    choices = ", ".join(setting.choices)
    if setting.may_be_number:
        return f" ({choices} or a whole number)"
    return f" (one of {choices})" if choices else ""


def errors_page() -> str:
    rows = [
        f"| `{cls.code}` | {cls.__name__} | {cls.kind} | {http_status(cls.__new__(cls), 'v1')} "
        f"| {EXIT_CODES[cls.kind]} | {inspect.cleandoc(cls.__doc__ or '').splitlines()[0]} |"
        for cls in error_classes()
    ]
    return "\n".join([
        "# Errors", "", NOTE,
        "Every error that a user can see has a code that never changes its meaning. Its kind",
        "decides the HTTP status of the server and the exit code of the command line.", "",
        "```", *_tree(EnginecrateError), "```", "",
        "| code | name | kind | HTTP | exit | meaning |",
        "|---|---|---|---|---|---|", *rows, "",
    ])  # fmt: skip


def _tree(cls: type[EnginecrateError], mine: str = "", below: str = "") -> Iterator[str]:
    yield f"{mine + cls.__name__:<31} {cls.code}"
    children = [child for child in error_classes() if child.__base__ is cls]
    for child in children:
        last = child is children[-1]
        branch, trunk = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from _tree(child, below + branch, below + trunk)


def manifest_page() -> str:
    schema = json_schema()
    return "\n".join([
        "# The manifest `enginecrate.toml`", "", NOTE,
        "`enginecrate manifest check` names every fault with its line and its cure, of the",
        "manifest and of all that it names: stacks, model, labels, class, photos",
        "([cli.md](cli.md#manifest));",
        "`enginecrate manifest schema` prints the JSON Schema for editors. Paths are relative to",
        "the manifest and stay inside the project folder. Texts are one line without control",
        "characters; numbers are finite.", "",
        *_sections(schema, schema["$defs"]["Manifest"], ""), "",
    ])  # fmt: skip


def _sections(schema: dict[str, Any], table: dict[str, Any], name: str) -> Iterator[str]:
    inner = []
    rows = []
    for key, value in table["properties"].items():
        if target := _table(schema, value):
            inner.append((target, f"{name}.{key}" if name else key))
        else:
            default = _manifest_default(value, required=key in table.get("required", []))
            rows.append(f"| `{key}` | {_type(value)} | {default} | {_about(value)} |")
    if rows:
        head = ["| key | type | default | meaning |", "|---|---|---|---|"]
        yield from [
            f"## `[{name}]`",
            "",
            table.get("description", "").replace("\n    ", "\n"),
            "",
            *head,
            *rows,
            "",
        ]
    for target, inner_name in inner:
        yield from _sections(schema, target, inner_name)


def _manifest_default(value: dict[str, Any], *, required: bool) -> str:
    default = value.get("default")
    if default in (None, "", [], {}):
        return "required" if required else ""
    return f"`{json.dumps(default)}`"


def _table(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    for option in [value, *value.get("anyOf", []), *value.get("allOf", [])]:
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rpartition("/")[2]]
            return found
    return None


def _type(value: dict[str, Any]) -> str:
    options = [option for option in value.get("anyOf", [value]) if option.get("type") != "null"]
    words = {"string": "text", "integer": "whole number", "array": "list", "object": "table"}
    option = options[0]
    if "enum" in option:
        return " or ".join(f"`{choice}`" for choice in option["enum"])
    return words.get(option.get("type", ""), option.get("type", ""))


def _about(value: dict[str, Any]) -> str:
    for option in [value, *value.get("anyOf", [])]:
        if "description" in option:
            return str(option["description"])
    return ""


PAGES = {"settings.md": settings_page, "errors.md": errors_page, "manifest.md": manifest_page}


def documents() -> Iterator[tuple[str, str]]:
    """What belongs into docs/: paths and texts."""
    for name, page in PAGES.items():
        yield name, page()
    for predicate_type, schema in predicate_schemas().items():
        name, version = predicate_type.split("/")[-2:]
        yield f"schemas/{name}.{version}.json", json.dumps(schema, indent=2) + "\n"


def main() -> int:
    stale = []
    for name, text in documents():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run: make reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
