"""The plans that were calibrated where the app runs, and the choice of the one that serves.

<cache>/site/<digest>.json      which plan to serve with in place of the app's own

The name is the digest of app, model and stack. The record is written last, when the plan is in the
cache, proven and better: whoever is killed before leaves the earlier one in force.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from enginecrate.builder.ladder.rungs import Ladder
from enginecrate.builder.plans.plan_fit import misfit
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import PlanInvalid, PlanMismatch
from enginecrate.files.private_folder import is_ours, write_ours
from enginecrate.settings import Settings
from enginecrate.values import Digest, Precision, Progress

__all__ = ["ORIGIN", "SitePlan", "SiteStep", "forget", "load_choice", "save_choice", "site_step"]

_log = logging.getLogger(__name__)

ORIGIN = "calibrated on site"
_FORMAT = 1
_AGAIN = "calibrate again, or go back to the app's own engine with --calibrate --reset"


class SitePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that serves, with the inputs that it was made from.

    model, pipeline: digests of what it was calibrated for.
    precision: that was asked for; the plan's own may be `mixed`.
    plan, plan_digest: its key in the cache, and of its bytes.
    photos: how many it was calibrated with. agreement: with FP32, 0..1; `None`: not measured.
    """

    format: int = _FORMAT
    app: str
    model: str
    pipeline: str
    stack: str
    device: str
    precision: Precision
    plan: str
    plan_digest: str
    calibration: str
    photos: int
    agreement: float | None = None


def save_choice(project: Project, choice: SitePlan, settings: Settings) -> Path:
    """Serve with this plan from the next start on. Raises `CacheUnusable`."""
    path = _path(project, choice.stack, settings)
    content = msgspec.json.format(msgspec.json.encode(choice, order="sorted"), indent=1) + b"\n"
    write_ours(path, content, "the choice of the engine")
    return path


def load_choice(project: Project, stack: str, settings: Settings) -> SitePlan | None:
    """The plan that was chosen for a stack; `None`: the app's own serve.

    Raises:
        CacheUnusable: the cache folder cannot be used.
        PlanInvalid: the record is damaged.
    """
    path = _path(project, stack, settings)
    if not is_ours(path.parent):
        return None
    try:
        choice = msgspec.json.decode(path.read_bytes(), type=SitePlan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PlanInvalid(f"{path} cannot be read ({exc}); {_AGAIN}") from exc
    return choice if choice.format == _FORMAT else None


def forget(project: Project, stack: str, settings: Settings) -> bool:
    """Go back to the app's own engines. Returns whether there was anything to forget."""
    path = _path(project, stack, settings)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


class SiteStep:
    """The ladder's highest step: the plan that was calibrated here. It is found or not there."""

    quick = False
    origin = ORIGIN

    def __init__(
        self, project: Project, target: Target, choice: SitePlan, settings: Settings
    ) -> None:
        self.target = target
        self._project = project
        self._choice = choice
        self._settings = settings

    def find(self) -> Plan:
        """Raises `PlanMismatch`, `PlanInvalid`."""
        choice, settings = self._choice, self._settings
        if choice.pipeline != pipeline_digest(self._project):
            raise PlanMismatch(f"it was calibrated for another [pipeline] of the app; {_AGAIN}")
        plan = PlanStore(settings.cache_path, settings.cache_max_bytes).get(choice.plan)
        if plan is None or plan.info.plan_digest != choice.plan_digest:
            raise PlanInvalid(f"the engine calibrated on site is not in the cache; {_AGAIN}")
        wrong = misfit(plan.info, self._project, self.target)
        if wrong:
            raise PlanMismatch(f"{wrong}; {_AGAIN}")
        return plan

    def build(self, progress: Progress) -> Plan:
        """Nothing to build: the photos are not here any more."""
        return self.find()

    def stop(self) -> None:
        """Nothing runs."""


def site_step(project: Project, ladder: Ladder, settings: Settings) -> SiteStep | None:
    """The step for what was calibrated here; `None` when nothing was, or for another device.

    Raises:
        CacheUnusable: the cache folder cannot be used.
    """
    try:
        choice = load_choice(project, ladder.stack.name, settings)
    except PlanInvalid as exc:
        _log.warning("%s", exc)
        return None
    if choice is None:
        return None
    rungs = {one.device: one.rung for one in reversed(ladder.targets)}
    rung = rungs.get(choice.device)
    if rung is None or choice.model != project.model.source_digest:
        return None
    return SiteStep(project, Target(ladder.stack, rung, choice.device, choice.precision), choice,
                    settings)  # fmt: skip


def _path(project: Project, stack: str, settings: Settings) -> Path:
    parts = (project.manifest.app.name, str(project.model.source_digest), stack)
    name = Digest.of("\n".join(parts).encode()).hex
    return settings.cache_path / "site" / f"{name}.json"
