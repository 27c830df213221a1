"""The fit of a plan: a plan that was made elsewhere or before serves here, or there is a reason."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.engines.backends import get_backend
from enginecrate.values import PlanInfo, current_platform

__all__ = ["misfit"]


def misfit(info: PlanInfo, project: Project, target: Target) -> str:
    """The reason why a plan cannot serve as this target; empty when it can.

    Backends check more when they load it; a reason that is found here lets another plan be taken.
    """
    return "; ".join(
        f"it was made for {what} {have}, and here is {want}"
        for what, have, want in _facts(info, project, target)
        if have != want
    )


def _facts(info: PlanInfo, project: Project, target: Target) -> Iterator[tuple[str, str, str]]:
    yield "the model", info.model_digest[:19], str(project.model.source_digest)[:19]
    yield "the backend", info.backend, target.rung.backend
    yield "the stack", info.stack, target.stack.name
    yield "the device", info.device, target.device
    yield "the platform", info.platform, current_platform()
    if info.backend == "onnxruntime" and info.device == "cpu":
        here = get_backend(info.backend).probe().version
        yield "onnxruntime", info.backend_version, here
