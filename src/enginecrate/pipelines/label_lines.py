"""Lines with numbers beside the names: `0 person`, `1: cat`, `person 0`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

__all__ = ["in_order", "numbered_names", "plural_stem"]

_FRONT = re.compile(r"(\d{1,6})(\s*[:=,;|)]\s*|\.\s+|\s+-\s+|\s+)(\S.*)")
_BACK = re.compile(r"(.*\S)(\s*[:=,;|]\s*|\s+)(\d{1,6})")

_Parts = list[tuple[int, str, str]]
"""Of each line its number, what separates it, and the rest."""


def in_order(names: Mapping[int, str]) -> list[str]:
    """The names by their numbers, which count from 0 or 1 without a gap.

    Raises:
        ValueError: they do not; a sentence says which is missing.
    """
    first = 0 if 0 in names else 1
    wanted = range(first, first + len(names))
    missing = [str(number) for number in wanted if number not in names]
    if missing:
        raise ValueError(
            f"the numbers of the classes have gaps: {', '.join(missing[:5])} "
            f"{'is' if len(missing) == 1 else 'are'} missing; give every class of the model a "
            "name, for example 'unused'"
        )
    return [names[number] for number in wanted]


def numbered_names(lines: Sequence[str]) -> list[str]:
    """The names without their numbers; empty when the numbers belong to the names, or none are.

    Numbers are taken off when every line has one and they count up from 0 or 1. `1 euro`, `2
    euro` are names: what the numbers count is the same. A JSON list holds names as they are.

    Raises:
        ValueError: the lines look numbered, and are not quite.
    """
    front = [_FRONT.fullmatch(line) for line in lines]
    if all(front):
        return _take_off([(int(one[1]), one[2].strip(), one[3]) for one in front if one])
    back = [_BACK.fullmatch(line) for line in lines]
    if all(back):
        parts = [(int(one[3]), one[2].strip(), one[1]) for one in back if one]
        return _take_off(parts) if _counts(parts) else []
    numbered = [index for index, one in enumerate(front) if one and int(one[1]) == index]
    if len(numbered) > 2 and len(numbered) * 2 > len(lines):
        bare = next(index for index in range(len(lines)) if index not in set(numbered))
        raise ValueError(
            f"this looks like numbered lines, but line {bare + 1}, {lines[bare]!r}, is not; take "
            f"off the numbers, or number every line. {_LITERAL}"
        )
    return []


_LITERAL = 'Where the numbers belong to the names, write a JSON list, as ["1 euro", "2 euro"]'


def plural_stem(text: str) -> str:
    """`finger` for `finger` and `Fingers`."""
    return text.strip().lower().removesuffix("s")


def _take_off(parts: _Parts) -> list[str]:
    names = [rest.strip() for _, _, rest in parts]
    if len(parts) == 1 and not parts[0][1]:
        return [] if parts[0][0] else names  # one class: `0 person` is numbered, `4 seasons` not
    if len({plural_stem(name) for name in names}) == 1 and len(parts) > 1:
        return []
    if not _counts(parts):
        return _gaps(parts)
    if len(set(names)) < len(names):
        if not any(mark for _, mark, _ in parts) and min(number for number, _, _ in parts):
            return []
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"this looks like numbered lines, but {twice!r} stands there twice; give each class a "
            f"name of its own. {_LITERAL}"
        )
    return [name for _, name in sorted(zip((number for number, _, _ in parts), names, strict=True))]


def _counts(parts: _Parts) -> bool:
    numbers = sorted(number for number, _, _ in parts)
    return numbers in (list(range(len(parts))), list(range(1, len(parts) + 1)))


def _gaps(parts: _Parts) -> list[str]:
    """Names, if the numbers show no list; refused, if they rise with gaps or repeat."""
    numbers = [number for number, _, _ in parts]
    rising = all(low < high for low, high in itertools.pairwise(numbers))
    marked = all(mark for _, mark, _ in parts)
    if not marked and not (rising and numbers[0] < 2 and numbers[-1] < 2 * len(parts)):
        return []
    wanted = range(min(numbers[0], 1), min(numbers[0], 1) + len(parts))
    missing = [str(number) for number in wanted if number not in numbers]
    raise ValueError(
        "this looks like numbered lines, but the numbers do not count up from 0 or 1 ("
        f"{', '.join(missing[:5])} missing); name every class of the model in its order, for "
        f"example 'unused'. {_LITERAL}"
    )
