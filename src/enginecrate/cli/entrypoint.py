"""The program as an image's entry point: no argument serves, and flags alone are the server's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from enginecrate.cli import main as program
from enginecrate.settings import SETTINGS_VARIABLE

__all__ = ["SETTINGS_FILE", "as_verb", "main"]

SETTINGS_FILE = Path("/etc/enginecrate/settings.toml")
"""Read when it is there."""

_OWN = ("--version", "--help", "-h", "--healthcheck", "--install-completion", "--show-completion")
"""Options of the program itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program as a container does.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if SETTINGS_VARIABLE not in os.environ and _is_there(SETTINGS_FILE):
        os.environ[SETTINGS_VARIABLE] = str(SETTINGS_FILE)
    return program.main(as_verb(words))


def as_verb(words: Sequence[str]) -> list[str]:
    """The command line that is meant.

    `--calibrate DIR`, `--doctor` and the like are verbs; without any verb the server is meant.
    """
    debug = [word for word in words[:1] if word == "--debug"]
    rest = list(words[len(debug) :])
    name, _, value = rest[0].partition("=") if rest else ("serve", "", "")
    if name in program.VERB_OPTIONS:
        rest = [program.VERB_OPTIONS[name], *([value] if value else []), *rest[1:]]
    elif not rest or (name.startswith("-") and name not in _OWN):
        rest = ["serve", *rest]
    if rest[0] == "calibrate":
        # What is asked for here is an engine for this machine, and not a table for another one.
        rest.insert(1, "--use")
    return debug + rest


def _is_there(file: Path) -> bool:
    """Whether there is such a file, readable or not: one that cannot be read is an error later."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
