"""Requests for images: one for each stack, or for each GPU, with its platforms, plans and bases.

Nothing is fetched and nothing is written here. `image_plan` goes on from a request.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from enginecrate.errors import RecipeInvalid, UsageError, nearest
from enginecrate.image.layers.compression import Compression
from enginecrate.image.recipe.app_files import find_app_files, packed_names
from enginecrate.image.recipe.base_image import BaseImage, open_base
from enginecrate.image.recipe.origin import Origin, find_origin
from enginecrate.image.recipe.plans import ImagePlan, foreign_version, runs_in
from enginecrate.image.recipe.tags import ImageTags, image_tags
from enginecrate.image.resolve.bases import load_base
from enginecrate.image.resolve.images import check_images
from enginecrate.image.resolve.target import ALL_PLATFORMS
from enginecrate.manifest import ManifestFile
from enginecrate.manifest.golden_samples import count_samples, record_command
from enginecrate.manifest.image_rules import base_image_fault
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.gpus import capability_of
from enginecrate.stacks.lock import Lock, LockedImage
from enginecrate.values import current_platform

__all__ = [
    "ImageRequest",
    "RequestOptions",
    "check_plans",
    "check_request",
    "choose_stacks",
    "fitting_plans",
    "left_out",
    "locked_image",
    "make_requests",
    "request_notes",
    "tags_of",
    "with_single_gpus",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image: of one stack, for one or several platforms.

    plans: of the project; those that fit the stack and a platform go in.
    device: `sm86`: bring the engines of this GPU alone; empty: all.
    compression: in place of the locked one.
    bases: by platform, the vendor's image that lies below ours (Jetson); else there is none.
    """

    file: ManifestFile
    lock: Lock
    stack: str
    platforms: tuple[str, ...]
    plans: tuple[ImagePlan, ...]
    origin: Origin
    device: str = ""
    compression: Compression | None = None
    bases: Mapping[str, BaseImage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Choices of the user; an empty one was not made.

    platforms: may hold `all`. gpus: names of models, `A10`. base_image: a reference with a digest.
    """

    stacks: Sequence[str] = ()
    platforms: Sequence[str] = ()
    gpus: Sequence[str] = ()
    compression: str = ""
    revision: str = ""
    base_image: str = ""


def choose_stacks(
    file: ManifestFile, lock: Lock, options: RequestOptions
) -> tuple[list[str], list[str]]:
    """The stacks to make images of, and a note for each stack that gets none.

    Raises:
        UsageError: an option fits none of the stacks.
        RecipeInvalid: a stack that was asked for is not locked, or none is.
    """
    stacks, notes = _locked_stacks(file, lock, options.stacks)
    if options.gpus:
        stacks, without = with_single_gpus(stacks)
        notes += without
    _check_base(lock, stacks, options.base_image)
    return stacks, notes


def with_single_gpus(stacks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The stacks whose engines are for one GPU each, and a note for each of the others.

    Raises:
        UsageError: there is none.
    """
    chosen = [name for name in stacks if _has_single_gpus(get_stack(name))]
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


def make_requests(
    file: ManifestFile,
    lock: Lock,
    stacks: Sequence[str],
    options: RequestOptions,
) -> list[ImageRequest]:
    """One request for each stack, or one for each GPU that was named; without plans so far.

    Raises:
        RecipeInvalid: a platform is not locked, or the base is for another one.
        GpuUnknown: there is no GPU of this name.
        ImageNotFound: there is no such base.
    """
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
            plans=(),
            origin=origin,
            device=device,
            compression=compression,
            bases=_bases(file, lock, stack, platforms, options.base_image),
        )
        for stack, platforms in chosen.items()
        for device in devices
    ]


def check_request(request: ImageRequest) -> None:
    """Check what is known before any plan is built.

    Raises:
        RecipeInvalid: the lock has no such image, or a file must not go in.
        ManifestInvalid: a file that the manifest names is missing.
        LockStale: the lock was resolved for something else.
        ReferenceInvalid: the app's version cannot be a tag.
    """
    check_images(request.lock, request.file.manifest)
    tags_of(request)
    for platform in request.platforms:
        locked_image(request.lock, request.stack, platform)
    find_app_files(request.file)


def check_plans(request: ImageRequest) -> None:
    """Check that an image for one GPU has an engine. Raises `RecipeInvalid`: there is none."""
    for platform in request.platforms:
        fitting_plans(request, get_stack(request.stack), platform)


def request_notes(requests: Sequence[ImageRequest]) -> list[str]:
    """Notes for people: plans that stay outside, and the reason when no commit is named."""
    outside = dict.fromkeys(note for request in requests for note in left_out(request))
    unnamed = {request.origin.note for request in requests} - {""}
    unproven = dict.fromkeys(note for request in requests for note in _unproven(request.file))
    return [*unproven, *outside, *unnamed]


def _unproven(file: ManifestFile) -> Iterator[str]:
    """A note when the app has no golden samples."""
    manifest = file.manifest
    if not count_samples(file.root / manifest.precision.accuracy.golden):
        yield (
            f"{manifest.app.name} is unproven: it has no golden samples in "
            f"{manifest.precision.accuracy.golden}, so nothing tells whether its answers are "
            "right, and `enginecrate verify` skips that row; record some, and build again: "
            f"{record_command(manifest.pipeline.task)}"
        )


def left_out(request: ImageRequest) -> list[str]:
    """A note for each plan of the stack that stays outside since another version built it."""
    stack = get_stack(request.stack)
    return [
        f"the plan of {stack.name}, {info.precision} for {info.device}, stays outside: it was "
        f"built by {info.backend} {info.backend_version}, and the image has {version}. The "
        f"server builds it when it first needs it, {_how_long(info.backend)}; to bring it along, "
        f"build the image where {info.backend} {version} is installed"
        for plan in request.plans
        if (info := plan.info).stack == stack.name
        and info.platform in request.platforms
        and (version := foreign_version(plan, stack))
    ]


def fitting_plans(request: ImageRequest, stack: Stack, platform: str) -> tuple[ImagePlan, ...]:
    """The plans that go in: with `device`, of TensorRT's those for this GPU alone.

    Raises:
        RecipeInvalid: there is no engine for the GPU.
    """
    plans = tuple(plan for plan in request.plans if runs_in(plan, stack, platform))
    device = request.device
    if not device:
        return plans
    if all(plan.info.device != device for plan in plans):
        have = sorted({plan.info.device for plan in plans} - {"cpu", "cuda"})
        raise RecipeInvalid(
            f"there is no engine of the stack {stack.name} for {device} on {platform} (there is "
            f"one for {', '.join(have) or 'no single GPU'}); add the GPU to targets.gpus, and run: "
            "enginecrate build"
        )
    return tuple(plan for plan in plans if plan.info.device in ("cpu", "cuda", device))


def locked_image(lock: Lock, stack: str, platform: str) -> LockedImage:
    """The image of a stack on a platform in the lock. Raises `RecipeInvalid`: there is none."""
    for image in lock.images:
        if (image.stack, image.platform) == (stack, platform):
            return image
    known = ", ".join(f"{one.stack} on {one.platform}" for one in lock.images) or "none at all"
    raise RecipeInvalid(
        f"the lock has no image of the stack {stack} on {platform} (it has {known}); add it with: "
        f"enginecrate lock --stack {stack} --platform {platform}"
    )


def tags_of(request: ImageRequest) -> ImageTags:
    """The tags of an image. Raises `ReferenceInvalid`: the app's version cannot be one."""
    manifest = request.file.manifest
    first = manifest.targets.stacks[0] == request.stack
    tags = image_tags(manifest.app.version, request.stack, first=first, device=request.device)
    if manifest.image is not None and not manifest.image.aliases:
        return ImageTags(tags.own)
    return tags


def _locked_stacks(
    file: ManifestFile, lock: Lock, wanted: Sequence[str]
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The wanted stacks, or all; those of the manifest that are not locked become notes."""
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


def _has_single_gpus(stack: Stack) -> bool:
    """True if the stack has engines for one GPU each; onnxruntime's run on all of them."""
    return any(rung.device == "gpu" and rung.backend != "onnxruntime" for rung in stack.rungs)


def _check_base(lock: Lock, stacks: Sequence[str], base_image: str) -> None:
    """Refuse a base without a digest, and one where no stack stands on a base: `UsageError`."""
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


def _platforms(lock: Lock, stack: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted platforms; by default this machine's, or all where the stack has none here."""
    locked = tuple(sorted(image.platform for image in lock.images if image.stack == stack))
    if not wanted:
        own = current_platform()
        return (own,) if own in locked else locked
    if ALL_PLATFORMS in wanted:
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
    return {platform: open_base(name, platform) for platform in wanted}


def _wants_base(lock: Lock, stack: str, platform: str) -> bool:
    return load_base(locked_image(lock, stack, platform).base).vendor_image


def _how_long(backend: str) -> str:
    return "in some seconds" if backend == "onnxruntime" else "in some minutes on its GPU"
