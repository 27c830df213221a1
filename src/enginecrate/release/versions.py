"""Order of versions, as Semantic Versioning 2.0.0 has it (section 11, "Precedence")."""

from __future__ import annotations

__all__ = ["version_key"]

_Part = tuple[int, int, str]


def version_key(version: str) -> tuple[tuple[int, ...], bool, tuple[_Part, ...]]:
    """What versions are sorted by. Build metadata does not count.

    Raises:
        ValueError: it does not begin with three numbers.
    """
    core, _, tail = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    if len(numbers) != 3 or min(numbers) < 0:
        raise ValueError(f"not a version: {version!r}")
    parts = tuple(_part(part) for part in tail.split(".")) if tail else ()
    return numbers, not tail, parts


def _part(text: str) -> _Part:
    """Numbers come before words."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
