"""`enginecrate build`: inspect, simplify, plan, prove, time, report."""

from __future__ import annotations

from pathlib import Path

from enginecrate.cli.options import CacheDir, Json, Project, SettingsFile, examples, resolve
from enginecrate.cli.output import console, print_json, show_progress

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
