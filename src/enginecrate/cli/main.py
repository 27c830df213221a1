"""The program `enginecrate`: every error ends here, as one message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

from enginecrate.cli.shared.exit_codes import BROKEN_PIPE, INTERRUPTED, SUCCESS, exit_code
from enginecrate.cli.shared.thread_check import check_threads
from enginecrate.errors import (
    EnginecrateError,
    ProjectExists,
    SetupUnknown,
    SystemRefused,
    UsageError,
)
from enginecrate.version import __version__

__all__ = ["VERB_OPTIONS", "main"]

_SYSTEM_REFUSALS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
"""Errors of the operating system that no program can foresee: they are not our bug."""

VERB_OPTIONS = {
    f"--{verb}": verb for verb in ("bench", "calibrate", "doctor", "predict", "serve", "verify")
}
"""Verbs that may be written like options, as people call an image: `docker run IMAGE --calibrate
/data/images`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: default: those of the process.

    Returns:
        The exit code; docs/cli.md lists them.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options or os.environ.get("ENGINECRATE_DEBUG", "") not in ("", "0")
    # It may stand anywhere: people add it at the end of the line that went wrong.
    words = [word for word in options if word != "--debug"] + words[len(options) :]
    try:
        code = _run(words)
        # What is buffered meets a closed pipe here, and not when the interpreter ends.
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:
        if debug:
            traceback.print_exc()
        return _report(exc, as_json="--json" in options)
    if code == BROKEN_PIPE:
        _leave_closed_pipe()
    return code


def _run(words: list[str]) -> int:
    # Both are called often, by container runtimes and scripts: they do without the parser.
    if words == ["--version"]:
        sys.stdout.write(f"enginecrate {__version__}\n")
        return SUCCESS
    if words == ["--healthcheck"]:
        from enginecrate.server.healthcheck import check_health

        return check_health()
    check_threads()
    if words[:1] and words[0] in VERB_OPTIONS:
        words = [VERB_OPTIONS[words[0]], *words[1:]]
    import typer

    from enginecrate.cli.commands import create_app

    command = typer.main.get_command(create_app())
    result = command.main(args=words, prog_name="enginecrate", standalone_mode=False)
    return result if isinstance(result, int) else SUCCESS


def _report(exc: Exception, *, as_json: bool) -> int:
    """One clear message, and the exit code that goes with it."""
    from enginecrate.cli.shared.output import print_error

    error = _translate(exc)
    facts: dict[str, object] = {}
    if isinstance(error, SetupUnknown):
        facts = {"guesses": error.guesses}
    if isinstance(error, ProjectExists) and error.changes:
        facts = {"changes": error.changes}
    print_error(str(error), code=error.code, kind=error.kind, as_json=as_json, facts=facts)
    return exit_code(error)


def _translate(exc: Exception) -> EnginecrateError:
    """Any exception as one of ours; an unforeseen one is a bug and says so."""
    import typer

    if isinstance(exc, EnginecrateError):
        return exc
    if isinstance(exc, typer.TyperException):
        words = exc.format_message().replace("Value error, ", "").rstrip(".")
        return UsageError(f"{words}; see: {_help_command(exc)}")
    if isinstance(exc, MemoryError) or getattr(exc, "errno", None) in _SYSTEM_REFUSALS:
        return SystemRefused(f"the operating system refuses: {exc or 'no memory is left'}")
    return EnginecrateError(
        f"this is a bug in enginecrate {__version__}: {type(exc).__name__}: {exc}; please report "
        "it together with what the same command prints with --debug"
    )


def _help_command(exc: Exception) -> str:
    """The command whose help explains the mistake."""
    context = getattr(exc, "ctx", None)
    return f"{context.command_path if context else 'enginecrate'} --help"


def _leave_closed_pipe() -> None:
    """The reader went away (`... | head`): end without a word, since no reader is left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
