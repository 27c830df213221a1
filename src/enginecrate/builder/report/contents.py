"""From what a build has made to the facts of its report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.plans.build_all import MEASURED, TargetResult
from enginecrate.builder.plans.plan import ObtainedPlan
from enginecrate.builder.project.photo_split import ProjectPhotos
from enginecrate.builder.project.photos import augment, spread
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.examination import Examination
from enginecrate.builder.quantization.calibration.run import FEW_PHOTOS
from enginecrate.builder.report.build_machine import describe_machine
from enginecrate.builder.report.report import (
    AppFacts,
    BuildReport,
    BuildResult,
    BuildRun,
    GoldenFacts,
    GraphFacts,
    PhotoFacts,
    PlanFacts,
    Status,
    TargetFacts,
    TargetSpeed,
    TargetTiming,
)
from enginecrate.builder.report.verdict import Outcome
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.errors import AccuracyTooLow
from enginecrate.graph.describe.inspection import count_operators, inspect_model
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.rewrite.simplify import simplifier
from enginecrate.graph.typed import share_of
from enginecrate.stacks.gpus import capability_of
from enginecrate.values import PlanInfo, Precision

__all__ = ["build_report"]

# onnxruntime's CPU provider has FP16 kernels for few operators, and casts around the others.
_FP16_SIMULATED = (
    "The CPU executes many operators of an FP16 graph in FP32, so that this simulation shows "
    "rounding, but not every overflow: values beyond 65504 become infinite on the device alone. "
    "Nodes that overflow on the calibration photos were left in FP32; prove the plan on its device"
)


def build_report(
    outcome: Outcome, photos: ProjectPhotos, seconds: float, file: Path
) -> BuildReport:
    """Put the report together.

    Args:
        outcome: of the build.
        photos: of the project.
        seconds: that it took.
        file: where the page will be.
    """
    verdict, reasons = outcome.verdict
    run = BuildRun(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        cached=sum(
            result.obtained is not None and result.obtained.cached for result in outcome.results
        ),
        batches=outcome.served.batches if outcome.served is not None else (),
        machine=describe_machine(),
        timings=tuple(_timings(outcome)),
        speeds=tuple(
            TargetSpeed(index, result.graph.speed)
            for index, result in enumerate(outcome.results)
            if result.graph is not None and result.graph.speed is not None
        ),
        report=str(file),
    )
    return BuildReport(verdict=verdict, reasons=reasons, result=_result(outcome, photos), run=run)


def _result(outcome: Outcome, photos: ProjectPhotos) -> BuildResult:
    project, proof, served = outcome.project, outcome.proof, outcome.served
    examinations = {id(examination.result): examination for examination in outcome.examinations}
    return BuildResult(
        app=_app_facts(project),
        model=inspect_model(project.model),
        graph=_graph_facts(project.model, outcome.simplified),
        targets=tuple(
            _target_facts(
                project, result, examinations.get(id(result)), proven=bool(proof.examined)
            )
            for result in outcome.results
        ),
        served=None if served is None else _index(outcome, served),
        not_buildable=tuple(f"{one.target}: {one.reason}" for one in outcome.not_built),
        photos=_photo_facts(project, photos),
        golden=tuple(
            GoldenFacts(
                name=examined.sample.name,
                passed=examined.outcome.passed,
                reasons=examined.outcome.reasons,
            )
            for examined in proof.examined
        ),
        accuracy=proof.accuracy,
        contract=proof.contract,
        trial=served.trial if served is not None else None,
    )


def _timings(outcome: Outcome) -> Iterator[TargetTiming]:
    for examination in outcome.examinations:
        if examination.timing is not None:
            yield TargetTiming(_index(outcome, examination), examination.timing)


def _index(outcome: Outcome, examination: Examination) -> int:
    """The index of its target among all targets."""
    return next(
        index for index, result in enumerate(outcome.results) if result is examination.result
    )


def _app_facts(project: Project) -> AppFacts:
    """The app that the report is about."""
    app = project.manifest.app
    return AppFacts(
        name=app.name,
        version=app.version,
        vendor=app.vendor,
        summary=app.summary,
        task=project.pipeline.task,
        manifest_digest=str(project.file.digest),
    )


def _graph_facts(given: OnnxModel, simplified: OnnxModel) -> GraphFacts:
    """The changes that simplification made."""
    before, after = count_operators(given.proto), count_operators(simplified.proto)
    return GraphFacts(
        simplifier=simplifier(),
        changed=given.proto != simplified.proto,
        nodes_before=sum(before.values()),
        nodes_after=sum(after.values()),
        operators_before=before,
        operators_after=after,
    )


def _photo_facts(project: Project, photos: ProjectPhotos) -> PhotoFacts | None:
    """The photos that calibrate and those that examine; `None` when none calibrate."""
    section = project.manifest.precision.calibration
    if section is None:
        return None
    used = spread(photos.calibration, section.max_images)
    # As calibration does: few photos are filled up with changed copies of them.
    filled = used if section.max_images < FEW_PHOTOS else augment(used, FEW_PHOTOS)
    return PhotoFacts(
        folder=section.images,
        method=section.method,
        percentile=section.percentile if section.method == "percentile" else None,
        calibration=len(used),
        copies=len(filled) - len(used),
        examined=len(photos.examined),
        skipped=photos.skipped,
    )


def _target_facts(
    project: Project, result: TargetResult, examination: Examination | None, *, proven: bool
) -> TargetFacts:
    """The facts of one target.

    Args:
        project: for the names of its GPUs.
        result: the target, with its plan or its error.
        examination: of the plan; `None` without one.
        proven: whether there are golden samples.
    """
    target = result.target
    facts = TargetFacts(
        stack=target.stack.name,
        backend=target.rung.backend,
        device=target.device,
        gpus=tuple(
            name
            for name in project.manifest.targets.gpus
            if capability_of(name).sm == target.device
        ),
        asked=target.precision,
        status="failed" if isinstance(result.error, AccuracyTooLow) else "not built",
        reason=str(result.error) if result.error else "",
        evaluation=_failed_evaluation(result),
    )
    if result.graph is not None:
        facts = msgspec.structs.replace(facts, **_of_graph(result.graph))
    if result.obtained is not None and examination is not None:
        changes = _of_plan(result.obtained, target.precision, examination, proven=proven)
        facts = msgspec.structs.replace(facts, **changes)
    return facts


def _failed_evaluation(result: TargetResult) -> Evaluation | None:
    """The evaluation of a graph that no plan was made of."""
    if not isinstance(result.error, MEASURED):
        return None
    evaluation = result.error.evaluation
    return evaluation if isinstance(evaluation, Evaluation) else None


def _of_graph(graph: GraphResult) -> dict[str, Any]:
    return {
        "calibration_digest": graph.calibration_digest,
        "recovery": graph.recovery,
        "labelled": graph.labelled,
    }


def _of_plan(
    obtained: ObtainedPlan, asked: Precision, examination: Examination, *, proven: bool
) -> dict[str, Any]:
    graph = obtained.graph
    return {
        "labelled": examination.labelled,
        "status": _status(examination, proven),
        "reason": examination.reason,
        "plan": _plan_facts(obtained.plan.info),
        "kept": tuple(layer.node for layer in graph.layers if layer.precision is not asked),
        "share": None if asked is Precision.FP32 else round(share_of(asked, graph.layers), 4),
        "nodes": sum(count_operators(graph.model.proto).values()),
        "notes": (
            *graph.notes,
            *obtained.notes,
            *obtained.said,
            *_simulated(obtained, examination),
        ),
        "evaluation": examination.evaluation,
    }


def _simulated(obtained: ObtainedPlan, examination: Examination) -> tuple[str, ...]:
    halved = any(layer.precision is Precision.FP16 for layer in obtained.graph.layers)
    return (_FP16_SIMULATED,) if halved and examination.way == "simulated" else ()


def _status(examination: Examination, proven: bool) -> Status:
    if examination.failed:
        return "failed"
    if examination.way == "measured":
        return "proven" if proven else "unproven"
    return "simulated" if examination.way == "simulated" else "not run"


def _plan_facts(info: PlanInfo) -> PlanFacts:
    return PlanFacts(
        stack=info.stack,
        backend=info.backend,
        backend_version=info.backend_version,
        platform=info.platform,
        device=info.device,
        precision=info.precision,
        key=PlanStore.key(PlanRequest.of(info)),
        plan_digest=info.plan_digest,
        graph_digest=info.graph_digest,
        plan_bytes=info.plan_bytes,
        max_batch=info.max_batch,
    )
