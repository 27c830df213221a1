"""What `enginecrate image build` and `image dockerfile` share: from options to a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from enginecrate.errors import LockStale, RecipeInvalid, UsageError, nearest

if TYPE_CHECKING:
    from enginecrate.builder.report.report import BuildReport
    from enginecrate.image.platform_plan import ImageRequest
    from enginecrate.image.recipe.image_plans import ImagePlan
    from enginecrate.manifest import ManifestFile
    from enginecrate.settings import Settings
    from enginecrate.stacks.lock import Lock
    from enginecrate.values import Progress

__all__ = ["Options", "make_requests", "split_words"]


def split_words(given: Sequence[str] | None) -> list[str]:
    """Every word of options that may be repeated, and may hold commas."""
    return [word.strip() for one in given or () for word in one.split(",") if word.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of the command line; what is empty was not given."""

    stacks: Sequence[str] = ()
    platforms: Sequence[str] = ()
    gpus: Sequence[str] = ()
    compression: str = ""
    revision: str = ""
    base_image: str = ""


def make_requests(
    project: Path, settings: Settings, options: Options, progress: Progress
) -> tuple[list[ImageRequest], list[str]]:
    """Build the project's plans, and say which images to make of them.

    Returns:
        The requests, and notes for people: what is missing in an image, and why.

    Raises:
        LockStale: there is no lock, or it is of another manifest.
        UsageError: an option fits none of the stacks.
        RecipeInvalid: a stack or platform that was asked for is not locked, or there is no engine
            for a GPU that was.
        EnginecrateError: the build fails; see `build.run.run_build`.
    """
    from enginecrate.builder.project.overrides import select
    from enginecrate.builder.run import run_build
    from enginecrate.cli.image.requests import check_base, requests_of, with_single_gpus
    from enginecrate.image.platform_plan import check_request, left_out
    from enginecrate.manifest import load_manifest

    file = load_manifest(project)
    lock = _locked(file)
    stacks, notes = _stacks(file, lock, options.stacks)
    if options.gpus:
        stacks, skipped = with_single_gpus(stacks)
        notes += skipped
    check_base(lock, stacks, options.base_image)
    report = run_build(project, settings, progress, select=partial(select, stacks=stacks))
    notes += _missing(report)
    requests = requests_of(file, lock, stacks, _plans(report, settings), options)
    for request in requests:
        check_request(request)
    outside = dict.fromkeys(one for request in requests for one in left_out(request))
    unnamed = {request.origin.note for request in requests} - {""}
    return requests, [*notes, *outside, *unnamed]


def _locked(file: ManifestFile) -> Lock:
    from enginecrate.stacks.lock import LOCK_NAME, check_lock

    lock = check_lock(file)
    if lock is None:
        raise LockStale(
            f"there is no {file.root / LOCK_NAME}, and an image is made of locked versions alone; "
            "write it with: enginecrate lock"
        )
    return lock


def _stacks(
    file: ManifestFile, lock: Lock, wanted: Sequence[str]
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The stacks to make images of; those of the manifest that are not locked become notes."""
    targets = list(dict.fromkeys(file.manifest.targets.stacks))
    locked = {image.stack for image in lock.images}
    for name in wanted:
        if name not in targets:
            raise UsageError(
                f"the project has no stack {name!r}{nearest(name, targets)}; its stacks are "
                f"{', '.join(targets)} (targets.stacks in the manifest)"
            )
        if name not in locked:
            raise RecipeInvalid(_unlocked(name))
    stacks = [name for name in targets if name in (wanted or locked)]
    if not stacks:
        raise RecipeInvalid(_unlocked(", ".join(targets)))
    notes = [] if wanted else [_unlocked(name) for name in targets if name not in locked]
    return stacks, notes


def _unlocked(name: str) -> str:
    return f"the lock has no image of {name}; write it again with: enginecrate lock --stack {name}"


def _plans(report: BuildReport, settings: Settings) -> tuple[ImagePlan, ...]:
    from enginecrate.image.recipe.image_plans import ImagePlan

    folder = settings.cache_path / "plans"
    keys = {
        target.plan.key: None
        for target in report.result.targets
        if target.plan is not None and target.status not in ("failed", "not built")
    }
    return tuple(ImagePlan.read(folder / key) for key in keys)


def _missing(report: BuildReport) -> list[str]:
    """Targets without a plan: the image makes them at its first start, if it can."""
    found = [
        f"no plan of {one.stack}, {one.asked} for {one.device}: {one.reason}"
        for one in report.result.targets
        if one.plan is None
    ]
    return found + [f"no plan of {reason}" for reason in report.result.not_buildable]
