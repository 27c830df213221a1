"""`enginecrate conformance`: does every backend of this machine compute what it should?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.options import CacheDir, Json, SettingsFile, examples, resolve
from enginecrate.cli.output import console, note, print_json, show_progress

if TYPE_CHECKING:
    from enginecrate.build.conformance import Conformance

__all__ = ["EXAMPLES", "conformance"]

EXAMPLES = examples(
    "enginecrate conformance",
    "enginecrate conformance --backend tensorrt_rtx",
    "enginecrate conformance --json > conformance.json",
)

_STYLES = {
    "passed": "green",
    "failed": "bold red",
    "refused": "yellow",
    "built, not run": "yellow",
    "unavailable": "dim",
}


def conformance(
    backend: Annotated[
        list[str] | None,
        typer.Option("--backend", metavar="NAME", help="Only this backend; may be repeated"),
    ] = None,
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Run tiny models on every device here, and compare with onnxruntime on the CPU.

    Every precision that a backend builds, static and dynamic shapes, several inputs, profiles, and
    outputs whose shape depends on values. Where a backend can build but not run, it says so: that
    counts as nothing proven. What was run on hardware is kept in the cache folder, in conformance/.

    The program ends with 1 when a backend computes something else, and with 6 when a backend that
    was named has not run here.
    """
    from enginecrate.build.conformance import judge, run_conformance, write_records

    settings = resolve(settings_file, cache_dir=cache_dir)
    names = tuple(dict.fromkeys(backend or ()))
    with show_progress() as progress:
        found = run_conformance(names, progress)
    paths = write_records(found, settings)
    if as_json:
        print_json(found)
    else:
        _show(found)
        for path in paths:
            note(f"recorded in {path}")
    judge(found, names)


def _show(found: Conformance) -> None:
    from itertools import groupby

    from rich.markup import escape
    from rich.table import Table

    screen = console()
    groups = groupby(found.results, key=lambda one: (one.backend, one.version, one.device))
    for (backend, version, device), rows in groups:
        where = "" if device == "-" else f" on {device}"
        screen.print(f"[bold]{escape(f'{backend} {version}'.strip())}{where}[/]")
        table = Table(box=None, show_header=False, pad_edge=False)
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for one in rows:
            outcome = f"[{_STYLES[one.outcome]}]{one.outcome}[/]"
            error = f"differs by {one.largest_error:.1e}, allowed {one.tolerance:g}"
            words = [error] if one.outcome == "passed" else []
            words += [escape(one.detail)] if one.detail else []
            name, precision = ("", "") if device == "-" else (one.case, one.precision)
            table.add_row(f"  {outcome}", name, precision, "; ".join(words))
        screen.print(table)
