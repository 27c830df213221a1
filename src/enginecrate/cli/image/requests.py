"""Which images are made of which stacks: for which platforms, for which GPUs, on which base."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from enginecrate.errors import UsageError

if TYPE_CHECKING:
    from enginecrate.cli.image_parts import Options
    from enginecrate.image.platform_plan import ImageRequest
    from enginecrate.image.recipe.base_image import BaseImage
    from enginecrate.image.recipe.image_plans import ImagePlan
    from enginecrate.manifest import ManifestFile
    from enginecrate.stacks.lock import Lock

__all__ = ["check_base", "requests_of", "with_single_gpus"]

_ALL = "all"


def with_single_gpus(stacks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The stacks whose engines are for one GPU each, and a note for each of the others.

    Raises:
        UsageError: there is none.
    """
    from enginecrate.image.platform_plan import has_single_gpus
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
    from enginecrate.image.layers.compression import Compression
    from enginecrate.image.platform_plan import ImageRequest
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
    from enginecrate.image.platform_plan import locked_image
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
    from enginecrate.image.platform_plan import locked_image
    from enginecrate.image.resolve.bases import load_base

    return load_base(locked_image(lock, stack, platform).base).vendor_image
