"""The entry point of an image: without a verb it serves, and as process 1 it is also init.

Without arguments the server is meant, and flags alone are the server's. The kernel drops a signal
that process 1 has no handler for, and makes it the parent of every orphan. So the program runs in a
child, and process 1 passes signals on and waits for processes that have ended.

Importing this imports next to nothing, so that process 1 handles signals after some milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Sequence

__all__ = ["as_verb", "become_init", "main"]

_SETTINGS_FILE = "/etc/enginecrate/settings.toml"
"""The settings file of an image, if there is one."""

_OWN = ("--version", "--help", "-h", "--healthcheck", "--install-completion", "--show-completion")
"""Options of the program itself."""

_FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""Signals that a process's own mistakes raise: init keeps these."""

_TERMINAL = {signal.SIGTTIN, signal.SIGTTOU}
"""Signals from the terminal to a process of the background: init passes none of them on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program as a container does. As process 1 it becomes init, and goes on in a child.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code.
    """
    if os.getpid() == 1:
        become_init()
    # Ctrl-C while modules are imported is no error to show.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from enginecrate.cli import main as program
    from enginecrate.settings import DEFAULTS_VARIABLE, IMAGE_DEFAULTS_FILE, SETTINGS_VARIABLE

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Processes that this one starts look for packages where this one does, and nowhere else.
    os.environ["PYTHONNOUSERSITE"] = "1"
    files = {DEFAULTS_VARIABLE: IMAGE_DEFAULTS_FILE, SETTINGS_VARIABLE: _SETTINGS_FILE}
    for variable, file in files.items():
        if variable not in os.environ and _is_there(file):
            os.environ[variable] = file
    return program.main(as_verb(sys.argv[1:] if arguments is None else arguments))


def as_verb(words: Sequence[str]) -> list[str]:
    """The command line with its verb.

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
        # An image calibrates an engine for this machine, and writes no table for another one.
        rest[1:1] = ["--use", "--require-volume"]
    return debug + rest


def become_init() -> None:
    """Go on in a child process; returns only there.

    The calling process passes on every signal, waits for all children, adopted ones too, and ends
    when the child does: with its exit code, or with 128 + the number of the signal that killed it.
    """
    watched = signal.valid_signals() - _FAULTS
    # Blocked signals wait for `sigwaitinfo`: none is lost, and none is handled at a bad moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_watch(child, watched))


def _take_terminal() -> None:
    """A process group of our own gets Ctrl-C once: from the terminal, and not from init as well."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):  # standard input is no terminal
        os.tcsetpgrp(0, os.getpgrp())


def _watch(child: int, watched: Collection[int]) -> int:
    while True:
        number = signal.sigwaitinfo(watched).si_signo
        if number == signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        elif number not in _TERMINAL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Wait for every ended process. Returns the child's exit code once it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            if process == child:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended
    return code


def _is_there(file: str) -> bool:
    """True when there is such a file; a file that cannot be read is an error later."""
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
