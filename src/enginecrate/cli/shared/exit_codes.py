"""The exit code for each kind of error. The table in docs/cli.md says the same; a test compares."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, Kind

__all__ = ["BROKEN_PIPE", "EXIT_CODES", "INTERRUPTED", "SUCCESS", "exit_code"]

SUCCESS = 0
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE, as shells report it."""

EXIT_CODES: dict[Kind, int] = {
    "failed": 1,
    "invalid": 2,
    "not_found": 3,
    "conflict": 4,
    "unsupported": 5,
    "unavailable": 6,
    "timeout": 7,
    "overloaded": 8,
    "too_large": 9,
    "not_allowed": 10,
    "incomplete": 11,
    "internal": 70,
}


def exit_code(error: EnginecrateError) -> int:
    """The exit code that tells a script what kind of error ended the program."""
    return EXIT_CODES[error.kind]
