"""Requests for the images of a project on disk: its plans are built on the way.

`enginecrate image build` and `image dockerfile` share it. The choice of stacks, platforms, GPUs and
bases is made by `image.image_requests`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from enginecrate.errors import LockStale

if TYPE_CHECKING:
    from enginecrate.builder.report.report import BuildReport
    from enginecrate.image.image_requests import ImageRequest, RequestOptions
    from enginecrate.image.recipe.plans import ImagePlan
    from enginecrate.manifest import ManifestFile
    from enginecrate.settings import Settings
    from enginecrate.stacks.lock import Lock
    from enginecrate.values import Progress

__all__ = ["project_requests"]


def project_requests(
    project: Path, settings: Settings, options: RequestOptions, progress: Progress
) -> tuple[list[ImageRequest], list[str]]:
    """Build the project's plans, and request the images that bring them.

    Returns:
        The requests, and notes for people about parts that are missing in an image.

    Raises:
        LockStale: there is no lock, or it is of another manifest.
        UsageError: an option fits none of the stacks.
        RecipeInvalid: a stack or platform that was asked for is not locked, or there is no engine
            for a GPU that was.
        EnginecrateError: the build fails; see `builder.run.run_build`.
    """
    from enginecrate.builder.project.overrides import select
    from enginecrate.builder.run import run_build
    from enginecrate.image.image_requests import (
        check_plans,
        check_request,
        choose_stacks,
        make_requests,
        request_notes,
    )
    from enginecrate.manifest import load_manifest

    file = load_manifest(project)
    lock = _current_lock(file)
    stacks, notes = choose_stacks(file, lock, options)
    wanted = make_requests(file, lock, stacks, options)
    for request in wanted:  # whatever is wrong is told before plans are built, which may take long
        check_request(request)
    report = run_build(project, settings, progress, select=partial(select, stacks=stacks))
    requests = [replace(request, plans=_plans(report, settings)) for request in wanted]
    for request in requests:
        check_plans(request)
    return requests, [*notes, *_missing(report), *request_notes(requests)]


def _current_lock(file: ManifestFile) -> Lock:
    from enginecrate.stacks.lock import LOCK_NAME, check_lock

    lock = check_lock(file)
    if lock is None:
        raise LockStale(
            f"there is no {file.root / LOCK_NAME}, and an image is made of locked versions alone; "
            "write it with: enginecrate lock"
        )
    return lock


def _plans(report: BuildReport, settings: Settings) -> tuple[ImagePlan, ...]:
    from enginecrate.image.recipe.plans import ImagePlan

    folder = settings.cache_path / "plans"
    keys = {
        target.plan.key: None
        for target in report.result.targets
        if target.plan is not None and target.status not in ("failed", "not built")
    }
    return tuple(ImagePlan.read(folder / key) for key in keys)


def _missing(report: BuildReport) -> list[str]:
    """A note for each target without a plan: the image makes it at its first start, if it can."""
    missing = [
        f"no plan of {target.stack}, {target.asked} for {target.device}: {target.reason}"
        for target in report.result.targets
        if target.plan is None
    ]
    return missing + [f"no plan of {reason}" for reason in report.result.not_buildable]
