"""The names of a model's classes, from the files that people have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from enginecrate.errors import LabelsInvalid
from enginecrate.pipelines.label_forms import parse_names
from enginecrate.pipelines.label_text import decode_text

__all__ = ["class_name", "load_labels"]

_MOST_BYTES = 16 << 20
_MOST_SHOWN = 5
_LONGEST = 1000


def load_labels(path: Path) -> list[str]:
    """Read class names; the first name belongs to class 0.

    Read are: one name a line; numbered lines (`0 person`, `0: person`, `0,person`); a JSON list;
    a JSON object by number (`{"0": "person"}`), perhaps inside of `id2label` or `names`; the YAML
    of Ultralytics (`names:`); CSV with a column of numbers; DeepStream's one line with `;`. Text
    is UTF-8, or UTF-16 with its mark. A number in front of a name is taken off only when every
    line has one and they count up from 0 or 1; in a JSON list names are always literal.

    Raises:
        LabelsInvalid: the file cannot be read or is of none of these forms, or a name is empty or
            has control characters. The message lists every fault.
    """
    names = parse_names(decode_text(_read(path), path), path)
    if not names:
        raise LabelsInvalid(f"{path} holds no labels; write one name for each class")
    if faults := list(_faults(names)):
        raise LabelsInvalid(f"{path}: {'; '.join(faults)}")
    return names


def class_name(labels: Sequence[str], class_id: int) -> str:
    """The label of a class; `class 7` for an app without labels."""
    return labels[class_id] if labels else f"class {class_id}"


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise LabelsInvalid(f"{path} is not a file; correct [pipeline] labels")
            data = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise LabelsInvalid(
            f"cannot read the labels file {path}: {exc.strerror}; correct [pipeline] labels"
        ) from exc
    if len(data) > _MOST_BYTES:
        raise LabelsInvalid(
            f"{path} has more than {_MOST_BYTES >> 20} MiB, which are no labels; correct "
            "[pipeline] labels"
        )
    return data


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _faults(names: Sequence[str]) -> Iterator[str]:
    empty = [str(index) for index, name in enumerate(names) if not name]
    if empty:
        yield (f"class {_few(empty)} has no name; name every class, for example 'unused'")
    for index, name in enumerate(names):
        if bad := sorted({char for char in name if char < " " or "\x7f" <= char <= "\x9f"}):
            yield (
                f"class {index}, {name!r}, has control characters ({', '.join(map(ascii, bad))}); "
                "write plain text"
            )
        if len(name) > _LONGEST:
            yield f"class {index}, {name[:40]!r}..., has {len(name)} characters; shorten it"


def _few(words: Sequence[str]) -> str:
    more = len(words) - _MOST_SHOWN
    return ", ".join(words[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
