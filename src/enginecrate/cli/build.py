"""`enginecrate build`: inspect, simplify, plan, prove, time, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from enginecrate.cli.options import CacheDir, Json, Project, SettingsFile, examples, resolve
from enginecrate.cli.output import console, print_json, show_progress

if TYPE_CHECKING:
    from enginecrate.build.report import BuildReport

__all__ = ["EXAMPLES", "build"]

EXAMPLES = examples(
    "enginecrate build",
    "enginecrate build --project ai-inspection",
    "enginecrate build --json > build.json",
)


def build(
    project: Project = Path(),
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Build the app's plan, prove it and time it.

    The model is inspected, simplified and built into a plan; the plan is compared with the model
    as it was given on the golden samples, and timed. build/report.html shows all of it.

    Killing it at any moment is harmless: run it again. What is unchanged comes from the cache.
    """
    from enginecrate.build.run import run_build

    settings = resolve(settings_file, cache_dir=cache_dir)
    with show_progress() as progress:
        report = run_build(project, settings, progress)
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: BuildReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, words in _rows(report):
        table.add_row(name, escape(words))
    console().print(table)
    style = "green" if report.verdict == "proven" else "yellow"
    typer.secho(f"\n{report.verdict}", fg=style, bold=True, nl=False)
    typer.echo("".join(f": {reason}" for reason in report.reasons))


def _rows(report: BuildReport) -> Iterator[tuple[str, str]]:
    """Name and value of each line of the summary."""
    result, run = report.result, report.run
    yield "app", f"{result.app.name} {result.app.version} ({result.app.task})"
    yield "model", f"{result.model.bytes / 1e6:.1f} MB, {result.model.digest[:19]}"
    graph = result.graph
    yield "graph", f"{graph.nodes_before} -> {graph.nodes_after} nodes ({graph.simplifier})"
    for plan in result.plans:
        source = "from the cache" if run.cached else "built"
        backend = f"{plan.backend} {plan.backend_version}"
        yield "plan", f"{plan.stack}, {plan.precision} for {plan.device} ({backend}), {source}"
    for reason in result.not_buildable:
        yield "no plan", reason
    if result.golden:
        passed = sum(sample.passed for sample in result.golden)
        yield "golden", f"{passed} of {len(result.golden)} samples give their expected result"
    if result.accuracy.agreement is not None:
        share = f"{result.accuracy.agreement:.1%}"
        yield "accuracy", f"{share} of the results match those of the model as it was given"
    if result.contract:
        yield "pipeline", f"contract of your own class: {result.contract}"
    for row in run.timing.rows:
        batch = f" batch {row.batch}" if row.step == "engine" else ""
        times = f"{row.median_ms:.1f} ms (p95 {row.p95_ms:.1f}), {row.per_second:.0f}/s"
        yield f"{row.step}{batch}", times
    for note in run.timing.notes:
        yield "timing", note
    yield "report", f"{run.report} ({run.seconds:.1f} s)"
