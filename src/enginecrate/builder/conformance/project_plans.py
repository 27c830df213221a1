"""Run a project's own plans on the devices of this machine, and keep what was measured."""

from __future__ import annotations

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.plans.build_all import make_plans
from enginecrate.builder.plans.targets import choose_targets
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.examination import Examination, examine_plans
from enginecrate.engines.backends import get_backend
from enginecrate.errors import ConformanceFailed, StackUnsupported
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["judge_plans", "run_plans"]


def run_plans(
    project: Project, settings: Settings, progress: Progress = no_progress
) -> list[Examination]:
    """Build and examine each target whose device is here.

    The evaluation of a GPU's plan is recorded (`builder.proof.hardware_records`): a build on a
    machine without that GPU then says `measured` instead of `simulated` of the same graph.

    Raises:
        StackUnsupported: no target's device is here.
        EnginecrateError: as `make_plans`.
    """
    targets, _ = choose_targets(project.manifest)
    here = [
        target
        for target in targets
        if target.device in get_backend(target.rung.backend).probe().devices
    ]
    if not here:
        devices = ", ".join(dict.fromkeys(target.device for target in targets))
        raise StackUnsupported(
            f"no device of this machine is a target of {project.file.path} ({devices}); run it on "
            "a machine with one of them: `enginecrate stacks --gpus` says which GPUs these are"
        )
    inputs = GraphInputs(project, settings, progress)
    results = make_plans(inputs, here, settings, progress)
    return examine_plans(project, results, inputs.evaluation_set, settings, progress)


def judge_plans(examinations: list[Examination]) -> None:
    """Refuse plans that compute something else.

    Raises:
        ConformanceFailed: the message names each plan and its agreement.
    """
    failed = [examination for examination in examinations if examination.failed]
    if failed:
        lines = ["plans disagree with the model as it was given on this machine:"]
        for examination in failed:
            evaluation = examination.evaluation
            agreement = evaluation.agreement if evaluation else "no result"
            lines.append(f"  {examination.result.target}: {agreement}")
        raise ConformanceFailed("\n".join(lines))
