"""`enginecrate golden`: record the right answers, and check that the app still gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.exit_codes import EXIT_CODES
from enginecrate.cli.options import CacheDir, Json, Project, SettingsFile, examples, resolve
from enginecrate.cli.output import note, print_json, show_progress
from enginecrate.errors import GoldenInvalid, GoldenMismatch

if TYPE_CHECKING:
    from enginecrate.build.golden import GoldenReport
    from enginecrate.build.predictor import Predictor
    from enginecrate.settings import Settings

__all__ = ["create_app"]


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Golden samples: photos with their right answers.")
    app.command("record", epilog=examples("enginecrate golden record person.jpg empty-street.jpg"))(
        record
    )
    app.command(
        "check", epilog=examples("enginecrate golden check", "enginecrate golden check --json")
    )(check)
    return app


def record(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO", help="Copied into the folder of golden samples"),
    ],
    project: Project = Path(),
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Write the app's answers on photos down as the right ones.

    Look at what was recorded: from then on it is the truth that every build and server must meet.
    """
    from enginecrate.build.golden import record_golden

    predictor, folder = _open(project, resolve(settings_file, cache_dir=cache_dir))
    try:
        samples = record_golden(predictor.predict, folder, photos)
    finally:
        predictor.close()
    if as_json:
        print_json({"folder": str(folder), "samples": samples})
        return
    typer.echo(f"Recorded {len(photos)} golden samples in {folder}")
    note("Read golden.json now: these answers count as right from here on.")


def check(
    project: Project = Path(),
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Compare the app's answers with the recorded ones.

    Ends with 1 when one differs.
    """
    from enginecrate.build.golden import check_golden, load_golden

    predictor, folder = _open(project, resolve(settings_file, cache_dir=cache_dir))
    try:
        samples = load_golden(folder)
        if not samples:
            raise GoldenInvalid(
                f"{folder} has no golden.json, so the app is unproven; "
                "record samples with: enginecrate golden record PHOTO..."
            )
        report = check_golden(predictor.predict, samples)
    finally:
        predictor.close()
    if as_json:
        print_json(report)
    else:
        _show(report)
    if not report.passed:
        raise typer.Exit(EXIT_CODES[GoldenMismatch.kind])


def _open(project: Path, settings: Settings) -> tuple[Predictor, Path]:
    """The app ready to run, and its folder of golden samples."""
    from enginecrate.build.predictor import open_predictor
    from enginecrate.manifest import load_manifest

    file = load_manifest(project)
    folder = file.root / file.manifest.precision.accuracy.golden
    with show_progress() as progress:
        return open_predictor(project, settings, progress), folder


def _show(report: GoldenReport) -> None:
    for outcome in report.outcomes:
        mark = typer.style("ok  ", fg="green") if outcome.passed else typer.style("fail", fg="red")
        typer.echo(f"{mark}  {outcome.name}")
        for reason in outcome.reasons:
            typer.echo(f"      {reason}")
