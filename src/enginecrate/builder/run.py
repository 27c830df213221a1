"""The whole build: every graph, every plan, proven, timed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.plans.build_all import TargetResult, make_plans
from enginecrate.builder.plans.targets import choose_targets
from enginecrate.builder.project.project import Project, open_project
from enginecrate.builder.proof.examination import Examination, examine_plans
from enginecrate.builder.proof.model_trial import check_model_app, check_own_class
from enginecrate.builder.report.contents import build_report
from enginecrate.builder.report.page import Pictures, render_report
from enginecrate.builder.report.report import BuildReport, write_report
from enginecrate.builder.report.verdict import Outcome, raise_failure, raise_missing
from enginecrate.files.atomic import check_writable
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["run_build"]

Select = Callable[[Project], Project]


def run_build(
    path: Path,
    settings: Settings,
    progress: Progress = no_progress,
    *,
    select: Select = lambda project: project,
    strict: bool = False,
) -> BuildReport:
    """Build a project, and write `build/report.html` and `build/report.json` in it.

    It may be killed at any moment and run again: what is on the disk is whole, and a plan that
    was finished is not built twice.

    Args:
        path: the project folder, or its manifest.
        settings: cache folder, limits and threads.
        progress: told what goes on.
        select: gives the project other targets (`builder.project.overrides`).
        strict: a target that cannot be built is an error.

    Returns:
        The report; its verdict is `proven` or, without golden samples, `unproven`.

    Raises:
        TrialFailed: an app without golden samples gives errors on the photos of the trial run, or
            answers that cannot be right.
        GoldenMismatch: a golden sample gave another result. The report is written before.
        AccuracyTooLow: a graph or a plan disagrees with the model as it was given. As before.
        NotWorthwhile, TooFewPhotos: of all targets. As before.
        PipelineModuleInvalid: the ISV's own pipeline breaks its contract. As before.
        BuildError: with `strict`, a target was not built. As before.
        EnginecrateError: nothing could be built; see `open_project` and `make_plans`.
    """
    started = time.perf_counter()
    progress("read the project", 0, 1)
    project = select(open_project(path, settings))
    inputs = GraphInputs(project, settings, progress)
    targets, not_built = choose_targets(project.manifest)
    folder = project.root / "build"
    check_writable(folder)
    inputs.evaluation_set.check_packages()
    progress("read the project", 1, 1)
    photos = inputs.photos  # found first: what is wrong with them is told before anything is built
    if photos.golden:
        check_own_class(project, photos.golden[0].payload, settings, progress)
    else:
        check_model_app(project, settings, progress)
    results = make_plans(inputs, targets, settings, progress)
    examinations = examine_plans(project, results, inputs.evaluation_set, settings, progress)
    results = _examined(results, examinations)
    outcome = Outcome(project, inputs.model, results, not_built, examinations)
    report = build_report(outcome, photos, time.perf_counter() - started, folder / "report.html")
    progress("write the report", 0, 1)
    pictures = Pictures(
        examined=outcome.proof.examined,
        golden={sample.name: sample.payload for sample in photos.golden},
        photos={photo.name: photo.read for photo in photos.examined},
        limits=project.limits,
    )
    write_report(folder, report, render_report(report, pictures))
    progress("write the report", 1, 1)
    raise_failure(report, outcome)
    if strict:
        raise_missing(report)
    return report


def _examined(
    results: Sequence[TargetResult], examinations: Sequence[Examination]
) -> list[TargetResult]:
    """The results, with plans as their examination has left them: perhaps limited to one by one."""
    examined = iter(examinations)
    return [next(examined).result if result.obtained else result for result in results]
