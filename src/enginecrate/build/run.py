"""The whole build: every graph, every plan, proven, timed and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from enginecrate.build.exam_photos import exam_photos
from enginecrate.build.examination import Examination, examine_plans
from enginecrate.build.golden import load_golden
from enginecrate.build.machine import describe_machine
from enginecrate.build.making import Made, make_plans
from enginecrate.build.project import Project, open_project
from enginecrate.build.report import (
    BuildReport,
    BuildResult,
    BuildRun,
    GoldenFacts,
    TargetTiming,
    Verdict,
    write_report,
)
from enginecrate.build.report_facts import app_facts, graph_facts, target_facts
from enginecrate.build.report_page import Pictures, render_report
from enginecrate.build.targets import NotBuilt, choose_targets
from enginecrate.errors import AccuracyTooLow, BuildError, GoldenMismatch, PipelineModuleInvalid
from enginecrate.graph.inspection import inspect_model
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["run_build"]

Select = Callable[[Project], Project]


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that one build has found out."""

    project: Project
    made: Sequence[Made]
    not_built: Sequence[NotBuilt]
    examinations: Sequence[Examination]

    @property
    def served(self) -> Examination:
        """Of the plan that would serve here; without one, of the first that there is."""
        here = [one for one in self.examinations if one.way == "measured"]
        wanted = self.project.manifest.precision.precision
        best = [one for one in here if one.made.target.precision is wanted]
        return (best or here or list(self.examinations))[0]

    @property
    def errors(self) -> list[str]:
        """Targets without a plan because something is wrong with its answers."""
        return [
            f"{one.target}: {one.error}"
            for one in self.made
            if isinstance(one.error, AccuracyTooLow)
        ]


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
        select: gives the project other targets (`build.selection`).
        strict: a target that cannot be built is an error.

    Returns:
        The report; its verdict is `proven` or, without golden samples, `unproven`.

    Raises:
        GoldenMismatch: a golden sample gave another result. The report is written before.
        AccuracyTooLow: a plan disagrees with the model as it was given. As before.
        PipelineModuleInvalid: the ISV's own pipeline breaks its contract. As before.
        BuildError: with `strict`, a target was not built. As before.
        EnginecrateError: nothing could be built; see `open_project` and `make_plans`.
    """
    started = time.perf_counter()
    progress("read the project", 0, 1)
    project = select(open_project(path, settings))
    samples = load_golden(project.golden)
    targets, not_built = choose_targets(project.manifest)
    progress("read the project", 1, 1)
    made = make_plans(project, targets, settings, progress)
    photos = exam_photos(project, progress)
    examinations = examine_plans(project, made, samples, photos, settings, progress)
    work = _Work(project, made, not_built, examinations)
    report = _report(work, time.perf_counter() - started)
    progress("write the report", 0, 1)
    pictures = Pictures(
        examined=work.served.proof.examined,
        payloads={photo.name: photo.read for photo in photos},
        limits=project.limits,
    )
    write_report(_folder(project), report, render_report(report, pictures))
    progress("write the report", 1, 1)
    _raise_failure(report, work)
    if strict:
        _raise_missing(report)
    return report


def _folder(project: Project) -> Path:
    return project.root / "build"


def _report(work: _Work, seconds: float) -> BuildReport:
    verdict, reasons = _judge(work)
    project, proof = work.project, work.served.proof
    places = {id(one): place for place, one in enumerate(work.made)}
    by_made = {id(one.made): one for one in work.examinations}
    result = BuildResult(
        app=app_facts(project),
        model=inspect_model(project.model),
        graph=graph_facts(project, work.made),
        targets=tuple(
            target_facts(project, one, by_made.get(id(one)), proven=bool(proof.examined))
            for one in work.made
        ),
        served=places[id(work.served.made)],
        not_buildable=tuple(f"{one.target}: {one.reason}" for one in work.not_built),
        golden=tuple(
            GoldenFacts(
                name=one.sample.name, passed=one.outcome.passed, reasons=one.outcome.reasons
            )
            for one in proof.examined
        ),
        accuracy=proof.accuracy,
        contract=proof.contract,
    )
    run = BuildRun(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        cached=sum(one.obtained is not None and one.obtained.cached for one in work.made),
        machine=describe_machine(),
        timings=tuple(
            TargetTiming(places[id(one.made)], one.timing)
            for one in work.examinations
            if one.timing is not None
        ),
        report=str(_folder(project) / "report.html"),
    )
    return BuildReport(verdict=verdict, reasons=tuple(reasons), result=result, run=run)


def _judge(work: _Work) -> tuple[Verdict, Sequence[str]]:
    reasons = [reason for one in work.examinations for reason in _reasons(one)] + work.errors
    if reasons:
        return "failed", list(dict.fromkeys(reasons))
    if not work.served.proof.examined:
        folder = work.project.manifest.precision.accuracy.golden
        return "unproven", [
            f"there are no golden samples in {folder}, so nobody knows whether the app's answers "
            "are right; record some: enginecrate golden record PHOTO..."
        ]
    return "proven", []


def _reasons(one: Examination) -> list[str]:
    target, proof = one.made.target, one.proof
    where = f"{target.precision} for {target.device}"
    reasons = [
        f"{where}: {sample.sample.name}: {reason}"
        for sample in proof.examined
        for reason in sample.outcome.reasons
    ]
    if not proof.accuracy.sufficient:
        reasons.append(
            f"{where}: only {proof.accuracy.agreement:.1%} of the plan's results match those of "
            "the model as it was given; the manifest requires "
            f"{proof.accuracy.required:.1%}"
        )
    elif one.evaluation is not None and not one.evaluation.passed:
        reasons.append(
            f"{where}: {one.evaluation.agreement}; the manifest requires "
            f"{one.evaluation.required:.1%}"
        )
    if proof.contract not in ("", "passed"):
        reasons.append(proof.contract)
    return reasons


def _raise_failure(report: BuildReport, work: _Work) -> None:
    if report.verdict != "failed":
        return
    details = "".join(f"\n  {reason}" for reason in report.reasons)
    broken = [one for one in work.examinations if one.proof.failures]
    if broken:
        proof = broken[0].proof
        raise GoldenMismatch(
            f"{len(proof.failures)} of {len(proof.examined)} golden samples gave another result "
            f"than the expected one:{details}\nCorrect the model, the manifest or the samples; "
            f"the pictures are in {report.run.report}"
        )
    contract = report.result.contract
    if contract not in ("", "passed") and set(report.reasons) == {contract}:
        raise PipelineModuleInvalid(contract)
    raise AccuracyTooLow(f"a plan is not accurate enough:{details}\nSee {report.run.report}")


def _raise_missing(report: BuildReport) -> None:
    missing = [
        f"{one.stack}, {one.asked} for {one.device}: {one.reason}"
        for one in report.result.targets
        if one.status == "not built"
    ]
    missing += report.result.not_buildable
    if missing:
        listed = "".join(f"\n  {one}" for one in missing)
        raise BuildError(f"not everything that the manifest wants was built:{listed}")
