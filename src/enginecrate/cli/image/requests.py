"""Which images are made of which stacks: for which platforms, for which GPUs, on which base.

What `enginecrate image build` and `image dockerfile` share: from options to a request.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from enginecrate.errors import LockStale, RecipeInvalid, UsageError, nearest

if TYPE_CHECKING:
    from enginecrate.image.image_plan import ImageRequest
    from enginecrate.image.recipe.base_image import BaseImage
    from enginecrate.image.recipe.plans import ImagePlan
    from enginecrate.manifest import ManifestFile
    from enginecrate.stacks.lock import Lock

if TYPE_CHECKING:
    from enginecrate.builder.report.report import BuildReport
    from enginecrate.image.image_plan import ImageRequest
    from enginecrate.image.recipe.plans import ImagePlan
    from enginecrate.manifest import ManifestFile
    from enginecrate.settings import Settings
    from enginecrate.stacks.lock import Lock
    from enginecrate.values import Progress


__all__ = ["Options", "make_requests", "requests_of", "split_words", "with_single_gpus"]

_ALL = "all"


def with_single_gpus(stacks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The stacks whose engines are for one GPU each, and a note for each of the others.

    Raises:
        UsageError: there is none.
    """
    from enginecrate.image.image_plan import has_single_gpus
    from enginecrate.stacks.catalog import get_stack

    chosen = [name for name in stacks if has_single_gpus(get_stack(name))]
    if not chosen:
        raise UsageError(
            f"--gpu is for engines of one GPU, and no stack here has such ({', '.join(stacks)}); "
            "leave --gpu out, or name another stack with --stack"
        )
    notes = [
        f"no image of {name}: it has no engine that is for one GPU alone; build it without --gpu"
        for name in stacks
        if name not in chosen
    ]
    return chosen, notes


def check_base(lock: Lock, stacks: Sequence[str], base_image: str) -> None:
    """Raises `UsageError`: a base was named on the command line without its digest, or for nothing.

    That is, when no stack stands on one.
    """
    from enginecrate.manifest.image_rules import base_image_fault

    if fault := base_image_fault(base_image):
        raise UsageError(f"--base-image: {fault}")
    if base_image and not any(
        _wants_base(lock, image.stack, image.platform)
        for image in lock.images
        if image.stack in stacks
    ):
        raise UsageError(
            "--base-image is for stacks that stand on an image of their vendor, and none does here "
            f"({', '.join(stacks)}); leave it out, or name another stack with --stack"
        )


def requests_of(
    file: ManifestFile,
    lock: Lock,
    stacks: Sequence[str],
    plans: tuple[ImagePlan, ...],
    options: Options,
) -> list[ImageRequest]:
    """One request for each stack, or one for each GPU that was named.

    Raises:
        RecipeInvalid: a platform is not locked, or the base is for another one.
        GpuUnknown: a GPU has a name that nobody knows.
        ImageNotFound: there is no such base.
    """
    from enginecrate.image.image_plan import ImageRequest
    from enginecrate.image.layers.compression import Compression
    from enginecrate.image.recipe.app_files import packed_names
    from enginecrate.image.recipe.origin import find_origin
    from enginecrate.stacks.gpus import capability_of

    devices = dict.fromkeys(capability_of(name).sm for name in options.gpus) or {"": None}
    compression = Compression.parse(options.compression) if options.compression else None
    origin = find_origin(file.root, os.environ, options.revision, lambda: packed_names(file))
    chosen = {stack: _platforms(lock, stack, options.platforms) for stack in stacks}
    return [
        ImageRequest(
            file=file,
            lock=lock,
            stack=stack,
            platforms=platforms,
            plans=plans,
            origin=origin,
            device=device,
            compression=compression,
            bases=_bases(file, lock, stack, platforms, options.base_image),
        )
        for stack, platforms in chosen.items()
        for device in devices
    ]


def _platforms(lock: Lock, stack: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those that were asked for; else this machine's own, or all where the stack has none here."""
    from enginecrate.image.image_plan import locked_image
    from enginecrate.values import current_platform

    locked = tuple(sorted(image.platform for image in lock.images if image.stack == stack))
    if not wanted:
        here = current_platform()
        return (here,) if here in locked else locked
    if _ALL in wanted:
        return locked
    for platform in wanted:
        locked_image(lock, stack, platform)
    return tuple(sorted(set(wanted)))


def _bases(
    file: ManifestFile, lock: Lock, stack: str, platforms: Sequence[str], given: str
) -> dict[str, BaseImage]:
    """The vendor's image below, for the platforms where the stack's data wants one."""
    wanted = [platform for platform in platforms if _wants_base(lock, stack, platform)]
    image = file.manifest.image
    name = given or (image.base_image if image else "")
    if not wanted or not name:
        return {}
    from enginecrate.image.recipe.base_image import open_base

    return {platform: open_base(name, platform) for platform in wanted}


def _wants_base(lock: Lock, stack: str, platform: str) -> bool:
    from enginecrate.image.image_plan import locked_image
    from enginecrate.image.resolve.bases import load_base

    return load_base(locked_image(lock, stack, platform).base).vendor_image


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
    from enginecrate.image.image_plan import check_request, left_out
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
    from enginecrate.image.recipe.plans import ImagePlan

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
