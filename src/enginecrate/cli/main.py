"""The program `enginecrate`: one thin file per verb; errors end here."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from enginecrate import __version__
from enginecrate.cli import build, doctor, golden, init, manifest, output, predict, serve
from enginecrate.cli.exit_codes import BROKEN_PIPE, INTERRUPTED, SUCCESS, exit_code
from enginecrate.errors import EnginecrateError, SystemRefused, UsageError

__all__ = ["create_app", "main"]

_SURROUNDINGS = {
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
"""What the operating system refuses for reasons that no program can foresee: not our bug."""


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
        output.flush()
    except BrokenPipeError:
        return _leave_closed_pipe()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as exc:
        if debug:
            traceback.print_exc()
        return _report(exc, as_json="--json" in options)
    return code


def create_app() -> typer.Typer:
    """The command line with all verbs."""
    app = typer.Typer(
        name="enginecrate",
        cls=_Program,
        help="From an ONNX model to a proven, deployable inference server.",
        context_settings={"help_option_names": ["--help", "-h"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        invoke_without_command=True,
        callback=_root,
    )
    app.command("init", epilog=init.EXAMPLES)(init.init)
    app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
    app.command("build", epilog=build.EXAMPLES)(build.build)
    app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
    app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
    app.add_typer(golden.create_app(), name="golden")
    app.add_typer(manifest.create_app(), name="manifest")
    return app


class _Program(TyperGroup):
    """Typer ends a closed pipe with its own exit code; here it becomes one that `main` returns."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(_leave_closed_pipe()) from None


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and end")] = False,
    healthcheck: Annotated[
        bool,
        typer.Option(
            "--healthcheck",
            help="Ask the server on this machine whether it is ready, and end: for containers",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error (ENGINECRATE_DEBUG=1)"),
    ] = False,
) -> None:
    del debug  # `main` has read it already; it stands here for the help
    if version:
        typer.echo(f"enginecrate {__version__}")
    elif healthcheck:
        from enginecrate.server.healthcheck import check_health

        raise typer.Exit(check_health())
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _run(words: list[str]) -> int:
    command = typer.main.get_command(create_app())
    result = command.main(args=words, prog_name="enginecrate", standalone_mode=False)
    return result if isinstance(result, int) else SUCCESS


def _report(exc: Exception, *, as_json: bool) -> int:
    """One clear message, and the exit code that goes with it."""
    error = _translate(exc)
    output.print_error(str(error), code=error.code, kind=error.kind, as_json=as_json)
    return exit_code(error)


def _translate(exc: Exception) -> EnginecrateError:
    """Any exception as one of ours; one that nobody foresaw is a bug and says so."""
    if isinstance(exc, EnginecrateError):
        return exc
    if isinstance(exc, typer.TyperException):
        words = exc.format_message().replace("Value error, ", "").rstrip(".")
        return UsageError(f"{words}; see: {_help_command(exc)}")
    if isinstance(exc, MemoryError) or getattr(exc, "errno", None) in _SURROUNDINGS:
        return SystemRefused(f"the operating system refuses: {exc or 'no memory is left'}")
    return EnginecrateError(
        f"this is a bug in enginecrate {__version__}: {type(exc).__name__}: {exc}; please report "
        "it together with what the same command prints with --debug"
    )


def _help_command(exc: Exception) -> str:
    """The command whose help explains the mistake."""
    context = getattr(exc, "ctx", None)
    return f"{context.command_path if context else 'enginecrate'} --help"


def _leave_closed_pipe() -> int:
    """The reader went away (`... | head`): nobody is there to tell, so end without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return BROKEN_PIPE
