"""Output: results to stdout; progress, notes and errors to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from enginecrate.values import Progress

__all__ = [
    "console",
    "escaped",
    "note",
    "plain",
    "print_error",
    "print_json",
    "print_rows",
    "show_progress",
]


def console(*, stderr: bool = False) -> Console:
    """A rich console that leaves a closed pipe to `main`, where all of them are handled."""
    from rich.console import Console

    class PipeAwareConsole(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError

    return PipeAwareConsole(stderr=stderr, highlight=False, emoji=False)


def plain(text: str) -> str:
    """Foreign text, fit for a terminal: characters that are not visible are written as escapes.

    Names in images, registries and archives are chosen by others: control characters would
    rewrite the screen, and marks of writing direction show a text in another order than it has.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def escaped(text: str) -> str:
    """The same where rich renders: brackets stay brackets."""
    from rich.markup import escape

    return escape(plain(text))


def note(message: str) -> None:
    """Lines for people, which scripts that read stdout never see."""
    typer.echo(_plain_lines(message), err=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout, in UTF-8.

    Structs of msgspec become objects; digests and paths become text.
    """
    import msgspec

    text = json.dumps(msgspec.to_builtins(value, enc_hook=_as_text), indent=2, ensure_ascii=False)
    typer.echo(text.encode("utf-8"))


def print_rows(rows: Iterable[tuple[str, str]], *, name_style: str = "") -> None:
    """A summary on stdout: names in the first column, and their values in the second."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style=name_style)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, escape(value))
    console().print(table)


def print_error(
    message: str, *, code: str, kind: str, as_json: bool, facts: Mapping[str, object] | None = None
) -> None:
    """Tell the user what went wrong: JSON on stdout for scripts, text on stderr for people."""
    if as_json:
        print_json({"error": {"code": code, "kind": kind, "message": message}, **(facts or {})})
        return
    typer.secho("Error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(f"{_plain_lines(message)} [{code}]", err=True)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A `Progress` drawn as bars on stderr; draws nothing when stderr is no terminal."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def update(step: str, done: int, total: int) -> None:
            if step not in tasks:
                for earlier in bars.tasks:
                    _finish(bars, earlier)
                tasks[step] = bars.add_task(step, total=None)
            bars.update(tasks[step], completed=done, total=total or None)

        yield update
        for task in bars.tasks:
            _finish(bars, task)


def _as_text(value: Any) -> str:
    if isinstance(value, (str, PurePath)):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _plain_lines(message: str) -> str:
    """Messages may have several lines."""
    return "\n".join(plain(line) for line in message.split("\n"))


def _finish(bars: Any, task: Any) -> None:
    """Fill a step's bar: the next step has begun, so this step is over."""
    total = task.total or 1
    bars.update(task.id, total=total, completed=total)
