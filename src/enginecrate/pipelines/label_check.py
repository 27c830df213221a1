"""Class names against themselves, and against the names that the model brings along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from enginecrate.errors import LabelsInvalid

__all__ = ["check_labels"]

_MOST_SHOWN = 8

_PLACEHOLDERS = {"", "-", "--", "?", "n/a", "na", "none", "null", "unused", "unknown", "reserved"}
"""Names of classes that a data set leaves out: they may stand there several times."""


def check_labels(labels: Sequence[str], model_names: Sequence[str], path: object) -> list[str]:
    """Compare the labels with each other and with the model's own names.

    Args:
        labels: as the app has them; may be empty.
        model_names: out of the model's metadata; may be empty.
        path: of the labels file, for messages.

    Returns:
        Warnings: what differs, side by side.

    Raises:
        LabelsInvalid: a name stands there twice, or the model has the same names in another order.
    """
    if not labels:
        return list(_unused(model_names))
    same = [_plain(name) for name in labels] == [_plain(name) for name in model_names]
    if same:
        return []
    if faults := list(_duplicates(labels)):
        raise LabelsInvalid(f"{path}: {'; '.join(faults)}")
    return list(_differences(labels, model_names, path))


def _unused(model_names: Sequence[str]) -> Iterator[str]:
    if model_names:
        shown = ", ".join(map(repr, model_names[:_MOST_SHOWN]))
        more = ", ..." if len(model_names) > _MOST_SHOWN else ""
        yield (
            f"the model names its {len(model_names)} classes ({shown}{more}), and answers call "
            "them 'class 0' and so on, since [pipeline] labels is not set; write these names to a "
            "file, one a line, and name it there"
        )


def _duplicates(labels: Sequence[str]) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    for index, name in enumerate(labels):
        if name.lower().strip("_ <>[]()") not in _PLACEHOLDERS:
            places.setdefault(name, []).append(str(index))
    for name, indexes in places.items():
        if len(indexes) > 1:
            yield (
                f"{name!r} names the classes {' and '.join(indexes)}, and answers could not be "
                "told apart; give each class a name of its own"
            )


def _differences(labels: Sequence[str], model_names: Sequence[str], path: object) -> Iterator[str]:
    if not model_names:
        return
    ours, theirs = [_plain(name) for name in labels], [_plain(name) for name in model_names]
    if len(ours) != len(theirs):
        if ours[1:] != theirs and ours != theirs[1:]:
            yield (
                f"{path} names {len(ours)} classes, and the model's metadata {len(theirs)}:\n"
                f"{_columns(labels, model_names)}"
            )
        return
    once = {name for name, count in Counter(ours).items() if count == 1}
    once &= {name for name, count in Counter(theirs).items() if count == 1}
    moved = [index for index, name in enumerate(ours) if name in once and theirs[index] != name]
    if len(moved) > 1:
        raise LabelsInvalid(
            f"{path} has the model's names in another order:\n{_columns(labels, model_names)}\n"
            "write them in the model's order; if the model's own names are wrong, correct them in "
            "its metadata (docs/pipelines.md shows how)"
        )
    yield f"{path} has other names than the model:\n{_columns(labels, model_names)}"


def _columns(labels: Sequence[str], model_names: Sequence[str]) -> str:
    """Both lists side by side, where they differ."""
    length = max(len(labels), len(model_names))
    rows = [
        (str(index), _at(labels, index), _at(model_names, index))
        for index in range(length)
        if _plain(_at(labels, index)) != _plain(_at(model_names, index))
    ]
    table = [("class", "labels", "model"), *rows[:_MOST_SHOWN]]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    lines = [
        f"    {number:<{widths[0]}}  {ours:<{widths[1]}}  {theirs}"
        for number, ours, theirs in table
    ]
    if len(rows) > _MOST_SHOWN:
        lines.append(f"    and {len(rows) - _MOST_SHOWN} more")
    return "\n".join(lines)


def _at(names: Sequence[str], index: int) -> str:
    if index >= len(names):
        return "-"
    return "".join(char if char.isprintable() else " " for char in names[index])[:60]


def _plain(name: str) -> str:
    """`Traffic-Light` and `traffic light` are one name."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
