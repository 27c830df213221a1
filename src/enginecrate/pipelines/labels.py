"""The names of a model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.errors import LabelsInvalid

__all__ = ["class_name", "load_labels"]


def load_labels(path: Path) -> list[str]:
    """Read class names: a JSON list of texts, or a text file with one name a line.

    The first name belongs to class 0. In a text file empty lines at the end do not count.

    Raises:
        LabelsInvalid: the file cannot be read, is neither, or a name is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise LabelsInvalid(
            f"cannot read the labels file {path}: {exc.strerror}; correct [pipeline] labels"
        ) from exc
    except UnicodeDecodeError as exc:
        raise LabelsInvalid(
            f"{path}: byte {exc.start} is not UTF-8 text; save the file as UTF-8"
        ) from exc
    is_json = path.suffix.lower() == ".json" or text.lstrip()[:1] == "["
    labels = _json_labels(text, path) if is_json else _text_labels(text, path)
    if not labels:
        raise LabelsInvalid(f"{path} holds no labels; write one name for each class")
    return labels


def class_name(labels: Sequence[str], class_id: int) -> str:
    """The label of a class; `class 7` for an app without labels."""
    return labels[class_id] if labels else f"class {class_id}"


def _text_labels(text: str, path: Path) -> list[str]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    for number, line in enumerate(lines, start=1):
        if not line:
            raise LabelsInvalid(
                f"{path}, line {number} is empty; every line names one class, so an empty one "
                "would move all that follow: name the class, for example 'unused'"
            )
    return lines


def _json_labels(text: str, path: Path) -> list[str]:
    try:
        content: Any = msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise LabelsInvalid(f"{path}: not valid JSON: {exc}") from exc
    if not isinstance(content, list):
        raise LabelsInvalid(
            f"{path}: must hold a list of class names in the order of the model's classes, as "
            f'["cat", "dog"]; found {_json_kind(content)}'
        )
    for index, label in enumerate(content):
        if not isinstance(label, str) or not label.strip():
            raise LabelsInvalid(
                f"{path}: entry {index} must be a class name, found {label!r}; "
                "name every class, for example 'unused'"
            )
    return [label.strip() for label in content]


def _json_kind(content: Any) -> str:
    kinds = {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(content), "a number")
