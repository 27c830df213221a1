"""What one image is to be: its layers, its needs, its configuration. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.formats.oci import ContainerConfig
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import LayerRecipe
from enginecrate.image.recipe.annotations import (
    BASE_LAYERS,
    Requirements,
    about,
    engine_notes,
    estimate_gpu_memory,
    label_annotations,
    requirement_annotations,
)
from enginecrate.image.recipe.app_files import AppFiles, find_app_files
from enginecrate.image.recipe.app_layers import app_layers, engine_layers
from enginecrate.image.recipe.base_image import BaseImage
from enginecrate.image.recipe.config import container_config, stack_environment
from enginecrate.image.recipe.origin import Origin
from enginecrate.image.recipe.package_layers import (
    Artifacts,
    open_interpreter,
    package_layers,
)
from enginecrate.image.recipe.plans import ImagePlan, foreign_version, runs_in
from enginecrate.image.recipe.tags import ImageTags, image_tags, release_tag
from enginecrate.image.resolve.images import check_images
from enginecrate.manifest import ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import Lock, LockedImage
from enginecrate.values import Progress, no_progress

__all__ = [
    "ImageRequest",
    "PlatformPlan",
    "annotations_of",
    "check_request",
    "has_single_gpus",
    "left_out",
    "locked_image",
    "plan_platform",
    "tags_of",
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


@dataclass(frozen=True, slots=True)
class PlatformPlan:
    """The image of one platform. paths: packages by sha256; plans: those that go in."""

    request: ImageRequest
    stack: Stack
    locked: LockedImage
    files: AppFiles
    paths: Mapping[str, Path]
    plans: tuple[ImagePlan, ...]
    recipe: tuple[LayerRecipe, ...]

    @property
    def base(self) -> BaseImage | None:
        """The vendor's image below."""
        return self.request.bases.get(self.locked.platform)

    @property
    def compression(self) -> Compression:
        """Of its layers. Raises `RecipeInvalid`: the lock names none that there is."""
        return self.request.compression or Compression.parse(self.locked.compression)

    def needs(self, disk_bytes: int, download_bytes: int) -> Requirements:
        """What a host must offer, once the sizes of the layers are known."""
        request, stack = self.request, self.stack
        app, serve = request.file.manifest.app, request.file.manifest.serve
        capabilities = stack.compute_capabilities
        if request.device:
            capabilities = tuple(one for one in capabilities if one.sm == request.device)
        return Requirements(
            app=app.name,
            version=app.version,
            stack=stack.name,
            platforms=request.platforms,
            backends=tuple(dict.fromkeys(rung.backend for rung in stack.rungs)),
            compute_capabilities=capabilities,
            unconfirmed=tuple(one for one in stack.unconfirmed if one in capabilities),
            minimum_driver=stack.minimum_driver,
            gpu_memory_bytes=estimate_gpu_memory(
                stack, self.plans, self.files.model_bytes, serve.instances
            ),
            disk_bytes=disk_bytes,
            download_bytes=download_bytes,
            engines=engine_notes(self.plans),
            release=release_tag(app.version),
        )

    def annotations(self, needs: Requirements) -> dict[str, str]:
        """Of its manifest."""
        found = annotations_of(self.request, needs)
        if self.base is None:
            return found
        layers = {BASE_LAYERS: str(len(self.base.manifest.layers))}
        return found | self.base.annotations() | layers

    def container(self, needs: Requirements) -> ContainerConfig:
        """How it starts."""
        below = self.base.environment() if self.base else {}
        variables = stack_environment(self.stack, self.locked.interpreter)
        return container_config(variables, label_annotations(self.annotations(needs)), below)


def has_single_gpus(stack: Stack) -> bool:
    """Whether the stack has engines that are for one GPU each; onnxruntime's run on all of them."""
    return any(rung.device == "gpu" and rung.backend != "onnxruntime" for rung in stack.rungs)


def check_request(request: ImageRequest) -> None:
    """Look at what can be known before anything is fetched or written.

    Raises:
        RecipeInvalid: the lock has no such image, or there is no engine for the GPU.
        LockStale: the lock was resolved for something else.
        ReferenceInvalid: the app's version cannot be a tag.
    """
    check_images(request.lock, request.file.manifest)
    tags_of(request)
    stack = get_stack(request.stack)
    for platform in request.platforms:
        locked_image(request.lock, stack.name, platform)
        _fitting(request, stack, platform)


@contextmanager
def plan_platform(
    request: ImageRequest,
    platform: str,
    artifacts: Artifacts,
    progress: Progress = no_progress,
) -> Iterator[PlatformPlan]:
    """The image of one platform; its packages are fetched, if need be.

    The layers can be read until the context ends.

    Raises:
        RecipeInvalid: the lock has no such image, or what goes in does not fit together.
        LockStale: the lock was resolved for something else.
        ArtifactMissing, ArtifactChanged, SourceUnavailable: a locked package.
        ManifestInvalid: a file that the manifest names is missing.
    """
    check_images(request.lock, request.file.manifest)
    stack = get_stack(request.stack)
    locked = locked_image(request.lock, stack.name, platform)
    files = find_app_files(request.file)
    plans = _fitting(request, stack, platform)
    paths = artifacts.obtain_all(locked, progress)
    on_base = platform in request.bases
    with open_interpreter(locked, request.lock, artifacts, progress) as interpreter:
        recipe = (
            *package_layers(locked, paths, interpreter, on_base=on_base),
            *app_layers(files, stack.name, plans),
            *engine_layers(stack.name, plans),
        )
        yield PlatformPlan(request, stack, locked, files, paths, plans, recipe)


def tags_of(request: ImageRequest) -> ImageTags:
    """The tags of an image. Raises `ReferenceInvalid`: the app's version cannot be one."""
    manifest = request.file.manifest
    first = manifest.targets.stacks[0] == request.stack
    tags = image_tags(manifest.app.version, request.stack, first=first, device=request.device)
    if manifest.image is not None and not manifest.image.aliases:
        return ImageTags(tags.own)
    return tags


def annotations_of(request: ImageRequest, needs: Requirements) -> dict[str, str]:
    """What the image of one platform says of itself; of a base below, its plan knows."""
    origin, image = request.origin, request.file.manifest.image
    known = about(
        request.file.manifest,
        revision=origin.revision,
        source=image.source if image else "",
        created=origin.created,
    )
    return {**known, **requirement_annotations(needs)}


def locked_image(lock: Lock, stack: str, platform: str) -> LockedImage:
    """What the lock says of a stack on a platform. Raises `RecipeInvalid`: nothing."""
    for one in lock.images:
        if (one.stack, one.platform) == (stack, platform):
            return one
    known = ", ".join(f"{one.stack} on {one.platform}" for one in lock.images) or "none at all"
    raise RecipeInvalid(
        f"the lock has no image of the stack {stack} on {platform} (it has {known}); write it "
        "again with: enginecrate lock"
    )


def left_out(request: ImageRequest) -> list[str]:
    """Plans of the image's stack that stay outside since another version built them; for people."""
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


def _how_long(backend: str) -> str:
    return "in some seconds" if backend == "onnxruntime" else "in some minutes on its GPU"


def _fitting(request: ImageRequest, stack: Stack, platform: str) -> tuple[ImagePlan, ...]:
    """The plans that go in: with `device`, of TensorRT's those for this GPU alone."""
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
