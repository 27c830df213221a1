"""Plans that came with the app, as an image holds them: the first place to look.

They are trusted because whoever serves cannot change them: they lie in the image, whose digest is
what the customer has verified. Who owns the files says nothing there; what is checked is that the
index, the sidecar and the bytes belong together.
"""

from __future__ import annotations

import logging
from pathlib import Path

from enginecrate.builder.plans.plan_fit import misfit
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import read_plan
from enginecrate.errors import EnginecrateError, PlanInvalid, PlanMismatch
from enginecrate.settings import Settings
from enginecrate.stacks.plan_index import SIDECAR, ShippedPlan, read_index
from enginecrate.values import Digest, Precision

__all__ = ["shipped_plan"]

_log = logging.getLogger(__name__)


def shipped_plan(project: Project, target: Target, settings: Settings) -> Plan | None:
    """The plan that came with the app for a target, checked; `None` when there is none.

    One that does not fit or is damaged is a warning in the log, and counts as none: another one is
    built in its place.
    """
    if not settings.plans_dir:
        return None
    folder = Path(settings.plans_dir)
    try:
        listed = read_index(folder, target.stack.name, target.device)
    except PlanInvalid as exc:
        _log.warning("the plans that came with the app cannot be used: %s", exc)
        return None
    # A plan whose layers differ is called `mixed`, whatever was asked for; an exact one goes first.
    for entry in sorted(listed, key=lambda entry: entry.precision is Precision.MIXED):
        if entry.precision in (target.precision, Precision.MIXED):
            try:
                plan = _read(folder, entry, project, target)
            except EnginecrateError as exc:
                _log.warning(
                    "the plan %.12s that came with the app is not used: %s", entry.key, exc
                )
                continue
            if entry.precision is target.precision or _has_layers_in(plan, target.precision):
                return plan
    return None


def _has_layers_in(plan: Plan, precision: Precision) -> bool:
    return any(layer.precision is precision for layer in plan.info.layers)


def _read(folder: Path, listed: ShippedPlan, project: Project, target: Target) -> Plan:
    """Raises `PlanInvalid`, `PlanMismatch`."""
    plan_folder = folder / listed.key
    try:
        plan = read_plan(plan_folder, listed.key)
        sidecar = str(Digest.of_file(plan_folder / SIDECAR))
    except OSError as exc:
        raise PlanInvalid(f"cannot read {exc.filename or plan_folder}: {exc.strerror}") from exc
    facts = (plan.info.plan_digest, plan.info.precision, sidecar)
    if facts != (listed.digest, listed.precision, listed.sidecar):
        raise PlanInvalid(f"{plan_folder} holds another plan than the index says")
    wrong = misfit(plan.info, project, target)
    if wrong:
        raise PlanMismatch(wrong)
    return plan
