"""The file `golden.json`, read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.builder.golden.tolerance import Tolerance
from enginecrate.errors import GoldenInvalid
from enginecrate.files.encoding import utf8
from enginecrate.manifest.golden_samples import GOLDEN_NAME

__all__ = ["GOLDEN_NAME", "GoldenEntry", "GoldenFile", "read_golden_file", "render_golden_file"]

_FORMAT = 1


class GoldenEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sample as `golden.json` has it. `input` is a file in the same folder."""

    input: str
    expected: dict[str, Any]
    tolerance: Tolerance = Tolerance()


class GoldenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `golden.json`."""

    format: int = _FORMAT
    samples: list[GoldenEntry] = []


def read_golden_file(folder: Path) -> GoldenFile | None:
    """Read `golden.json` alone; `None` when there is none. Raises `GoldenInvalid`."""
    path = folder / GOLDEN_NAME
    try:
        content = msgspec.json.decode(utf8(path.read_bytes()), type=GoldenFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise GoldenInvalid(f"cannot read {path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise GoldenInvalid(
            f"{path} is not a file of golden samples: {exc}; correct it, or remove it and record "
            "the samples again: enginecrate golden record FILE..."
        ) from exc
    if content.format != _FORMAT:
        raise GoldenInvalid(
            f"{path} has format {content.format}, and this version reads {_FORMAT}; "
            "record the samples again, or upgrade enginecrate"
        )
    return content


def render_golden_file(samples: Sequence[GoldenEntry]) -> bytes:
    """`golden.json` for people: what is flat stands on one line."""
    listed = []
    for entry in samples:
        values = msgspec.structs.asdict(entry.tolerance)
        keys = [key for key in _tolerance_keys(entry.expected) if values[key] is not None]
        tolerance = {key: values[key] for key in keys}
        listed.append({"input": entry.input, "expected": entry.expected, "tolerance": tolerance})
    return (_pretty({"format": _FORMAT, "samples": listed}) + "\n").encode()


def _tolerance_keys(expected: dict[str, Any]) -> tuple[str, ...]:
    """Those that count for this kind of result."""
    if "detections" in expected:
        return ("score", "iou", "threshold")
    return ("score",) if "classes" in expected else ("relative", "absolute")


def _pretty(value: Any, indent: str = "") -> str:
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)) or _flat(items):
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + "  "
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {_pretty(item, deeper)}" for key, item in value.items()]
    else:
        lines = [_pretty(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = f",\n{deeper}".join(lines)
    return f"{opening}\n{deeper}{body}\n{indent}{closing}"


def _flat(items: Sequence[Any]) -> bool:
    """Nothing nested, or nothing but short lists of numbers: a box belongs to its line."""
    return all(
        not isinstance(item, (dict, list, tuple))
        or (isinstance(item, (list, tuple)) and len(item) <= 4 and _flat(item))
        for item in items
    )
