"""The whole build: inspect, simplify, plan, prove, time, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import onnx

from enginecrate.build.golden import load_golden
from enginecrate.build.machine import describe_machine
from enginecrate.build.plan import ObtainedPlan, obtain_plan
from enginecrate.build.project import Project, open_project
from enginecrate.build.proof import Proof, prove
from enginecrate.build.report import (
    AppFacts,
    BuildReport,
    BuildResult,
    BuildRun,
    GoldenFacts,
    GraphFacts,
    PlanFacts,
    Verdict,
    write_report,
)
from enginecrate.build.report_page import render_report
from enginecrate.build.synthetic import synthetic_inputs
from enginecrate.build.targets import choose_targets
from enginecrate.build.timing import Timing, time_app
from enginecrate.build.variants import obtain_variant
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Engine, Plan, RunOptions
from enginecrate.engines.onnxruntime_backend import OnnxRuntimeBackend
from enginecrate.engines.plans import PlanRequest, PlanStore
from enginecrate.errors import AccuracyTooLow, GoldenMismatch, PipelineModuleInvalid
from enginecrate.graph.inspection import count_operators, inspect_model
from enginecrate.graph.simplify import simplifier
from enginecrate.settings import Settings
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["run_build"]


def run_build(path: Path, settings: Settings, progress: Progress = no_progress) -> BuildReport:
    """Build a project, and write `build/report.html` and `build/report.json` in it.

    It may be killed at any moment and run again: what is on the disk is whole, and a plan that
    was finished is not built twice.

    Args:
        path: the project folder, or its manifest.
        settings: cache folder, limits and threads.
        progress: told what goes on.

    Returns:
        The report; its verdict is `proven` or, without golden samples, `unproven`.

    Raises:
        GoldenMismatch: a golden sample gave another result. The report is written before.
        AccuracyTooLow: the plan disagrees with the model as it was given. As before.
        PipelineModuleInvalid: the ISV's own pipeline breaks its contract. As before.
        EnginecrateError: nothing could be built; see `open_project` and `obtain_plan`.
    """
    started = time.perf_counter()
    progress("read the project", 0, 1)
    project = open_project(path, settings)
    samples = load_golden(project.golden)
    progress("read the project", 1, 1)
    target = next(one for one in choose_targets(project.manifest)[0] if one.device == "cpu")
    variant = obtain_variant(project, target.precision, target.scheme, settings, progress)
    obtained = obtain_plan(project, target, variant, settings, progress)
    info = obtained.plan.info
    fallback = synthetic_inputs(info.inputs, project.profiles, info.max_batch)
    options = RunOptions(threads=settings.engine_threads)
    engine = get_backend(info.backend).load(obtained.plan, options)
    with closing(engine), closing(_reference(project, options)) as reference:
        proof = prove(project, engine, reference, samples, fallback, progress)
        payloads = [one.sample.payload for one in proof.examined if one.found is not None]
        timing = time_app(engine, project.pipeline, payloads, fallback, project.profiles, progress)
    report = _report(project, obtained, proof, timing, time.perf_counter() - started)
    progress("write the report", 0, 1)
    html = render_report(report, proof.examined, project.limits)
    write_report(_folder(project), report, html)
    progress("write the report", 1, 1)
    _raise_failure(report, proof)
    return report


def _reference(project: Project, options: RunOptions) -> Engine:
    return OnnxRuntimeBackend().load_model(project.model, options)


def _folder(project: Project) -> Path:
    return project.root / "build"


def _report(
    project: Project, obtained: ObtainedPlan, proof: Proof, timing: Timing, seconds: float
) -> BuildReport:
    verdict, reasons = _judge(project, proof)
    _, not_buildable = choose_targets(project.manifest)
    result = BuildResult(
        app=_app_facts(project),
        model=inspect_model(project.model),
        graph=_graph_facts(project, obtained.plan),
        plans=(_plan_facts(obtained.plan),),
        not_buildable=tuple(f"{one.target}: {one.reason}" for one in not_buildable),
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
        cached=obtained.cached,
        machine=describe_machine(),
        timing=timing,
        report=str(_folder(project) / "report.html"),
    )
    return BuildReport(verdict=verdict, reasons=tuple(reasons), result=result, run=run)


def _judge(project: Project, proof: Proof) -> tuple[Verdict, Sequence[str]]:
    reasons = [
        f"{one.sample.name}: {reason}" for one in proof.examined for reason in one.outcome.reasons
    ]
    accuracy = proof.accuracy
    if not accuracy.sufficient:
        reasons.append(
            f"only {accuracy.agreement:.1%} of the plan's results match those of the model as it "
            f"was given; the manifest requires {accuracy.required:.1%}"
        )
    if proof.contract not in ("", "passed"):
        reasons.append(proof.contract)
    if reasons:
        return "failed", reasons
    if not proof.examined:
        return "unproven", [
            f"there are no golden samples in {project.manifest.precision.accuracy.golden}, so "
            "nobody knows whether the app's answers are right; record some: "
            "enginecrate golden record PHOTO..."
        ]
    return "proven", []


def _raise_failure(report: BuildReport, proof: Proof) -> None:
    if report.verdict != "failed":
        return
    details = "".join(f"\n  {reason}" for reason in report.reasons)
    if proof.failures:
        raise GoldenMismatch(
            f"{len(proof.failures)} of {len(proof.examined)} golden samples gave another result "
            f"than the expected one:{details}\nCorrect the model, the manifest or the samples; "
            f"the pictures are in {report.run.report}"
        )
    if not proof.accuracy.sufficient:
        raise AccuracyTooLow(f"the plan is not accurate enough:{details}\nSee {report.run.report}")
    raise PipelineModuleInvalid(proof.contract)


def _app_facts(project: Project) -> AppFacts:
    app = project.manifest.app
    return AppFacts(
        name=app.name,
        version=app.version,
        vendor=app.vendor,
        summary=app.summary,
        task=project.pipeline.task,
        manifest_digest=str(project.file.digest),
    )


def _graph_facts(project: Project, plan: Plan) -> GraphFacts:
    """A plan of onnxruntime is the simplified graph, so nothing has to be simplified again."""
    given = project.model.proto
    before = count_operators(given)
    after = count_operators(onnx.load(plan.path))
    given_digest = Digest.of(given.SerializeToString(deterministic=True))
    return GraphFacts(
        simplifier=simplifier(),
        changed=plan.info.graph_digest != given_digest,
        nodes_before=sum(before.values()),
        nodes_after=sum(after.values()),
        operators_before=before,
        operators_after=after,
    )


def _plan_facts(plan: Plan) -> PlanFacts:
    info = plan.info
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
