"""Calibrate an app where it runs: photos of the customer's own, an INT8 plan for his device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from enginecrate.builder.accuracy.evaluation import check_gate
from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.ladder.site_plans import SitePlan, save_choice
from enginecrate.builder.ladder.steps import find_ladder
from enginecrate.builder.plans.build_all import TargetResult
from enginecrate.builder.plans.plan import ObtainedPlan, obtain_plan
from enginecrate.builder.plans.targets import NotBuilt, Target
from enginecrate.builder.project.overrides import select
from enginecrate.builder.project.photo_split import ProjectPhotos
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.examination import Examination, examine_plans
from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest
from enginecrate.builder.report.verdict import failure_reasons
from enginecrate.errors import AccuracyTooLow, GoldenMismatch, StackUnsupported
from enginecrate.manifest.schema import Calibration
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["SiteCalibration", "calibrate_on_site"]


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """The result of a calibration. `path`: of the record that makes the next start use it."""

    target: Target
    graph: GraphResult
    obtained: ObtainedPlan
    examination: Examination
    photos: ProjectPhotos
    choice: SitePlan
    path: Path


def calibrate_on_site(
    project: Project,
    options: Calibration,
    settings: Settings,
    progress: Progress = no_progress,
    *,
    accept_few: bool = False,
) -> SiteCalibration:
    """Make the INT8 plan for this machine from photos, and serve with it from the next start on.

    Whatever is raised, or kills the process, leaves in force what was before.

    Args:
        project: the app.
        options: the photos (a folder relative to the project, or an absolute one) and the method.
        settings: cache folder, stack and limits.
        progress: told what goes on.
        accept_few: accept an agreement that few photos show, whatever the manifest says.

    Raises:
        StackUnsupported: no engine here runs INT8.
        CalibrationInvalid, EvaluationInvalid: the photos cannot be used.
        NotWorthwhile: INT8 brings too little here.
        AccuracyTooLow, GoldenMismatch: it is not accurate enough.
        TooFewPhotos: too few photos show whether it is.
        PlanBuildFailed, BackendUnavailable: the device refuses it.
        CacheUnusable: the cache folder cannot be used.
    """
    project = _with_photos(project, options, accept_few=accept_few)
    target = _int8_target(project, settings)
    inputs = GraphInputs(project, settings, progress)
    inputs.evaluation_set.check_packages()
    graph = obtain_graph(inputs, target.precision, target.scheme, settings, progress)
    obtained = obtain_plan(project, target, graph, settings, progress)
    result = TargetResult(target, graph, obtained)
    (examination,) = examine_plans(project, [result], inputs.evaluation_set, settings, progress)
    _check(examination)
    photos = inputs.photos
    choice = _choice(project, target, obtained, examination, len(photos.calibration))
    path = save_choice(project, choice, settings)
    return SiteCalibration(target, graph, obtained, examination, photos, choice, path)


def _with_photos(project: Project, options: Calibration, *, accept_few: bool) -> Project:
    section = project.manifest.precision
    precision = msgspec.structs.replace(
        section, calibration=options, accept_few=section.accept_few or accept_few
    )
    manifest = msgspec.structs.replace(project.manifest, precision=precision)
    project = replace(project, file=replace(project.file, manifest=manifest))
    return select(project, precisions=[Precision.INT8])


def _int8_target(project: Project, settings: Settings) -> Target:
    """The best engine that may serve here, in INT8."""
    ladder = find_ladder(project, settings, settings.minimum_engine)
    device = ladder.targets[0].rung.device
    for target in ladder.targets:
        if target.precision is Precision.INT8 and target.rung.device == device:
            return target
    raise StackUnsupported(
        f"the stack {ladder.stack.name} has no INT8 engine for this machine: "
        f"{_why(ladder.left_out)}; nothing was changed"
    )


def _why(left_out: Sequence[NotBuilt]) -> str:
    reasons = [f"{one.target}: {one.reason}" for one in left_out if Precision.INT8 in one.target]
    return "; ".join(reasons) or "none of its rungs runs it"


def _check(examination: Examination) -> None:
    if not examination.failed:
        return
    details = "".join(f"\n  {reason}" for reason in failure_reasons(examination))
    evaluation = examination.evaluation
    if evaluation is not None and not examination.proof.failures:
        check_gate(evaluation, "the INT8 engine, and nothing was changed")
    kind = GoldenMismatch if examination.proof.failures else AccuracyTooLow
    raise kind(f"the INT8 engine is not accurate enough, and nothing was changed:{details}")


def _choice(
    project: Project,
    target: Target,
    obtained: ObtainedPlan,
    examination: Examination,
    photos: int,
) -> SitePlan:
    info, evaluation = obtained.plan.info, examination.evaluation
    return SitePlan(
        app=project.manifest.app.name,
        model=info.model_digest,
        pipeline=str(pipeline_digest(project)),
        stack=target.stack.name,
        device=target.device,
        precision=target.precision,
        plan=obtained.plan.path.parent.name,
        plan_digest=info.plan_digest,
        calibration=info.calibration_digest,
        photos=photos,
        agreement=evaluation.agreement.value if evaluation else None,
    )
