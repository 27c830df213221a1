"""`enginecrate golden`: record the right answers, and check that the app still gives them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES
from enginecrate.cli.shared.options import (
    Json,
    Project,
    SettingsSources,
    examples,
    read_input,
    with_groups,
)
from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import GoldenInvalid, GoldenMismatch

if TYPE_CHECKING:
    from enginecrate.builder.golden.samples import GoldenReport
    from enginecrate.builder.ladder.predictor import Predictor
    from enginecrate.builder.project.project import Project as OpenedProject
    from enginecrate.settings import Settings

__all__ = ["create_app"]


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Golden samples: photos or tensors with their right answers.")
    app.command(
        "record",
        epilog=examples(
            "enginecrate golden record person.jpg empty-street.jpg",
            "enginecrate golden record tensors.npz",
        ),
    )(record)
    app.command(
        "check", epilog=examples("enginecrate golden check", "enginecrate golden check --json")
    )(check)
    return app


@with_groups
def record(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Copied into the folder of golden samples: photos; .npz archives for task tensors",
        ),
    ],
    project: Project = Path(),
    *,
    sources: SettingsSources,
    as_json: Json = False,
) -> None:
    """Write the app's answers on photos, or on tensors, down as the right ones.

    Look at what was recorded: from then on it is the truth that every build and server must meet.
    """
    from enginecrate.builder.golden.samples import load_golden, record_golden
    from enginecrate.builder.project.project import open_project
    from enginecrate.cli.shared.results import result_as_dict, show_results
    from enginecrate.files.atomic import check_writable

    for photo in photos:
        read_input(photo)  # before a plan is built, which may take long
    settings = sources.load()
    opened = open_project(project, settings)
    check_writable(opened.golden)
    with closing(_predictor(opened, settings)) as predictor:
        threshold = opened.manifest.pipeline.score_threshold
        record_golden(predictor.predict, opened.golden, photos, score_threshold=threshold)
    samples = [(sample.name, sample.expected) for sample in load_golden(opened.golden)]
    if as_json:
        answers = [result_as_dict(name, answer) for name, answer in samples]
        print_json({"folder": str(opened.golden), "samples": answers})
        return
    show_results(samples)
    note(f"These answers count as right from here on: {opened.golden}")


@with_groups
def check(
    project: Project = Path(),
    *,
    sources: SettingsSources,
    as_json: Json = False,
) -> None:
    """Compare the app's answers with the recorded ones.

    Ends with 1 when one differs.
    """
    from enginecrate.builder.golden.samples import check_golden, load_golden
    from enginecrate.builder.project.project import open_project
    from enginecrate.manifest.golden_samples import record_command

    settings = sources.load()
    opened = open_project(project, settings)
    with closing(_predictor(opened, settings)) as predictor:
        samples = load_golden(opened.golden)
        if not samples:
            raise GoldenInvalid(
                f"{opened.golden} has no golden samples, so the app is unproven; "
                f"record some with: {record_command(opened.manifest.pipeline.task)}"
            )
        report = check_golden(predictor.predict, samples)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if not report.passed:
        raise typer.Exit(EXIT_CODES[GoldenMismatch.kind])


def _predictor(project: OpenedProject, settings: Settings) -> Predictor:
    """The app ready to run."""
    from enginecrate.builder.ladder.predictor import load_predictor

    with show_progress() as progress:
        return load_predictor(project, settings, progress)


def _show(report: GoldenReport) -> None:
    for outcome in report.outcomes:
        mark = typer.style("ok  ", fg="green") if outcome.passed else typer.style("fail", fg="red")
        typer.echo(f"{mark}  {outcome.name}")
        for reason in outcome.reasons:
            typer.echo(f"      {reason}")
