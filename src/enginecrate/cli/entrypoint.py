"""The program as an image's entry point: no argument serves, and flags alone are the server's.

Importing this imports next to nothing, so that process 1 heeds signals after some milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["SETTINGS_FILE", "as_verb", "main"]

SETTINGS_FILE = "/etc/enginecrate/settings.toml"
"""Read when it is there."""

_OWN = ("--version", "--help", "-h", "--healthcheck", "--install-completion", "--show-completion")
"""Options of the program itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program as a container does. As process 1 it becomes init, and goes on in a child.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code.
    """
    if os.getpid() == 1:
        from enginecrate.cli.init_process import become_init

        become_init()
    # Ctrl-C while modules are imported is no error to show.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from enginecrate.cli import main as program
    from enginecrate.settings import DEFAULTS_VARIABLE, IMAGE_DEFAULTS_FILE, SETTINGS_VARIABLE

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Processes that this one starts look for packages where this one does, and nowhere else.
    os.environ["PYTHONNOUSERSITE"] = "1"
    files = {DEFAULTS_VARIABLE: IMAGE_DEFAULTS_FILE, SETTINGS_VARIABLE: SETTINGS_FILE}
    for variable, file in files.items():
        if variable not in os.environ and _is_there(file):
            os.environ[variable] = file
    return program.main(as_verb(sys.argv[1:] if arguments is None else arguments))


def as_verb(words: Sequence[str]) -> list[str]:
    """The command line that is meant.

    `--calibrate DIR`, `--doctor` and the like are verbs; without any verb the server is meant.
    """
    from enginecrate.cli.main import VERB_OPTIONS

    debug = [word for word in words[:1] if word == "--debug"]
    rest = list(words[len(debug) :])
    name, _, value = rest[0].partition("=") if rest else ("serve", "", "")
    if name in VERB_OPTIONS:
        rest = [VERB_OPTIONS[name], *([value] if value else []), *rest[1:]]
    elif not rest or (name.startswith("-") and name not in _OWN):
        rest = ["serve", *rest]
    if rest[0] == "calibrate":
        # What is asked for here is an engine for this machine, and not a table for another one.
        rest[1:1] = ["--use", "--require-volume"]
    return debug + rest


def _is_there(file: str) -> bool:
    """Whether there is such a file, readable or not: one that cannot be read is an error later."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
