"""From what a build has made to the facts of its report."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.build.examination import Examination
from enginecrate.build.making import Made
from enginecrate.build.project import Project
from enginecrate.build.report import AppFacts, GraphFacts, PlanFacts, Status, TargetFacts
from enginecrate.engines.plans import PlanRequest, PlanStore
from enginecrate.graph.inspection import count_operators
from enginecrate.graph.simplify import simplifier, simplify
from enginecrate.graph.typed import share_of
from enginecrate.stacks.gpus import capability_of
from enginecrate.values import PlanInfo, Precision

__all__ = ["app_facts", "graph_facts", "target_facts"]


def app_facts(project: Project) -> AppFacts:
    """Who the report is about."""
    app = project.manifest.app
    return AppFacts(
        name=app.name,
        version=app.version,
        vendor=app.vendor,
        summary=app.summary,
        task=project.pipeline.task,
        manifest_digest=str(project.file.digest),
    )


def graph_facts(project: Project, made: Sequence[Made]) -> GraphFacts:
    """What simplifying did; the fp32 graph is the simplified one."""
    plain = (
        one.variant.graph.model.proto
        for one in made
        if one.variant is not None and one.variant.asked is Precision.FP32
    )
    given = project.model.proto
    after = next(plain, None) or simplify(project.model).model.proto
    before, counted = count_operators(given), count_operators(after)
    return GraphFacts(
        simplifier=simplifier(),
        changed=given != after,
        nodes_before=sum(before.values()),
        nodes_after=sum(counted.values()),
        operators_before=before,
        operators_after=counted,
    )


def target_facts(
    project: Project, made: Made, examination: Examination | None, *, proven: bool
) -> TargetFacts:
    """What became of one target.

    Args:
        project: for the names of its GPUs.
        made: the target, with its plan or its error.
        examination: of the plan; `None` without one.
        proven: whether there are golden samples.
    """
    target, obtained = made.target, made.obtained
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
        status="not built",
        reason=str(made.error) if made.error else "",
    )
    if obtained is None or examination is None:
        return facts
    asked, graph = target.precision, obtained.graph
    return TargetFacts(
        stack=facts.stack,
        backend=facts.backend,
        device=facts.device,
        gpus=facts.gpus,
        asked=asked,
        status=_status(examination, proven),
        reason=examination.reason,
        plan=_plan_facts(obtained.plan.info),
        kept=tuple(layer.node for layer in graph.layers if layer.precision is not asked),
        share=None if asked is Precision.FP32 else round(share_of(asked, graph.layers), 4),
        nodes=sum(count_operators(graph.model.proto).values()),
        notes=(*graph.notes, *obtained.notes),
        evaluation=examination.evaluation,
    )


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
