"""`enginecrate conformance`: proves that every backend of this machine computes what it should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import Json, SettingsSources, examples, with_groups
from enginecrate.cli.shared.output import console, note, print_json, show_progress
from enginecrate.errors import UsageError

if TYPE_CHECKING:
    from enginecrate.builder.conformance.run import Conformance
    from enginecrate.settings import Settings

__all__ = ["EXAMPLES", "conformance"]

EXAMPLES = examples(
    "enginecrate conformance",
    "enginecrate conformance --backend tensorrt_rtx",
    "enginecrate conformance --project ai-inspection",
    "enginecrate conformance --json > conformance.json",
)

_STYLES = {
    "passed": "green",
    "failed": "bold red",
    "refused": "yellow",
    "built, not run": "yellow",
    "unavailable": "dim",
}


@with_groups
def conformance(
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", metavar="NAME", help="Only this backend; may be repeated"),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            "-p",
            metavar="PATH",
            help="Run this project's own plans on the devices of this machine, instead",
        ),
    ] = None,
    *,
    sources: SettingsSources,
    as_json: Json = False,
) -> None:
    """Run tiny models on every device here, and compare with onnxruntime on the CPU.

    Every precision that a backend builds, static and dynamic shapes, several inputs, profiles, and
    outputs whose shape depends on values. Where a backend can build but not run, it says so: that
    counts as nothing proven. What was run on hardware is kept in the cache folder, in conformance/.

    With --project, the project's own plans are built and run wherever their device is here. What a
    GPU gave is kept in the cache folder, in hardware/: a later build says `measured` of that graph,
    and `simulated` no more, also on a machine without the GPU to which that folder is copied.

    The program ends with 1 when a backend computes something else, and with 6 when a backend that
    was named has not run here.
    """
    from enginecrate.builder.conformance.run import judge, run_conformance, write_records

    settings = sources.load()
    if project is not None:
        if backend:
            raise UsageError("--backend and --project do not go together; leave one of them out")
        _run_project(project, settings, as_json=as_json)
        return
    names = tuple(dict.fromkeys(backend or ()))
    with show_progress() as progress:
        conformance = run_conformance(names, progress)
    paths = write_records(conformance, settings)
    if as_json:
        print_json(conformance)
    else:
        _show(conformance)
        for path in paths:
            note(f"recorded in {path}")
    judge(conformance, names)


def _run_project(path: Path, settings: Settings, *, as_json: bool) -> None:
    from enginecrate.builder.conformance.project_plans import judge_plans, run_plans
    from enginecrate.builder.project.project import open_project

    with show_progress() as progress:
        examinations = run_plans(open_project(path, settings), settings, progress)
    if as_json:
        print_json(
            [
                {
                    "target": str(examination.result.target),
                    "failed": examination.failed,
                    "evaluation": examination.evaluation,
                }
                for examination in examinations
            ]
        )
    else:
        for examination in examinations:
            outcome = "failed" if examination.failed else "passed"
            evaluation = examination.evaluation
            words = str(evaluation.agreement) if evaluation else "no photos to compare with"
            typer.secho(outcome, fg="red" if examination.failed else "green", nl=False)
            typer.echo(f"  {examination.result.target}: {words}")
    judge_plans(examinations)


def _show(conformance: Conformance) -> None:
    from itertools import groupby

    from rich.markup import escape
    from rich.table import Table

    screen = console()
    groups = groupby(conformance.results, key=lambda row: (row.backend, row.version, row.device))
    for (backend, version, device), rows in groups:
        where = "" if device == "-" else f" on {device}"
        screen.print(f"[bold]{escape(f'{backend} {version}'.strip())}{where}[/]")
        table = Table(box=None, show_header=False, pad_edge=False)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            outcome = f"[{_STYLES[row.outcome]}]{row.outcome}[/]"
            error = f"differs by {row.largest_error:.1e}, allowed {row.tolerance:g}"
            words = [error] if row.outcome == "passed" else []
            words += [escape(row.detail)] if row.detail else []
            name, precision = ("", "") if device == "-" else (row.case, row.precision)
            table.add_row(f"  {outcome}", name, precision, "; ".join(words))
        screen.print(table)
