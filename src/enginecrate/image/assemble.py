"""From a locked project and its plans to an image in an OCI layout.

No daemon, no root, no network beside the sources of packages. Whatever is finished is kept: a build
that was killed goes on where it stopped, and the layout shows an image only when it is whole.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from enginecrate.errors import RecipeInvalid
from enginecrate.image.annotations import (
    Requirements,
    about,
    engine_notes,
    estimate_gpu_memory,
    requirement_annotations,
)
from enginecrate.image.app_files import AppFiles, find_app_files
from enginecrate.image.base_image import BaseImage
from enginecrate.image.config import container_config, image_config, stack_environment
from enginecrate.image.image_plans import ImagePlan, runs_in
from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Layer
from enginecrate.image.layers.writing import write_layers
from enginecrate.image.layout import Layout
from enginecrate.image.multi_platform import write_index
from enginecrate.image.oci import CONFIG, MANIFEST, Descriptor, ImageManifest, encode
from enginecrate.image.origin import Origin
from enginecrate.image.packages import Artifacts, open_interpreter, package_layers
from enginecrate.image.recipe import app_layers, engine_layers
from enginecrate.image.resolve.images import check_images
from enginecrate.image.tags import ImageTags, image_tags, release_tag
from enginecrate.manifest import ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import Lock, LockedImage
from enginecrate.values import Progress, no_progress

__all__ = [
    "BuiltImage",
    "BuiltPlatform",
    "ImageRequest",
    "Workplace",
    "build_image",
    "locked_image",
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
class Workplace:
    """Where an image is made. artifacts: gives the locked files; cache: of finished layers."""

    layout: Layout
    artifacts: Artifacts
    cache: LayerCache | None = None


@dataclass(frozen=True, slots=True)
class BuiltPlatform:
    """The image of one platform."""

    platform: str
    descriptor: Descriptor
    needs: Requirements
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in a layout. descriptor: of the index, or of the only platform's manifest."""

    descriptor: Descriptor
    tags: ImageTags
    platforms: tuple[BuiltPlatform, ...]


def build_image(
    request: ImageRequest, workplace: Workplace, progress: Progress = no_progress
) -> BuiltImage:
    """Write an image into a layout, under its tags.

    The same project, lock, plans and origin give the same digest: on every machine, for every
    user, at any time.

    Args:
        request: what to build.
        workplace: where, and with which caches.
        progress: told what goes on; called from several threads.

    Raises:
        RecipeInvalid: the lock has no such image, or what goes in does not fit together.
        LockStale: the lock was resolved for something else.
        ArtifactMissing, ArtifactChanged, SourceUnavailable: a locked package.
        ManifestInvalid: a file that the manifest names is missing.
        ReferenceInvalid: the app's version cannot be a tag.
        MissingExtra: the extra `image` is not installed.
    """
    check_images(request.lock, request.file.manifest)
    stack = get_stack(request.stack)
    targets, app = request.file.manifest.targets, request.file.manifest.app
    first = targets.stacks[0] == stack.name
    tags = image_tags(app.version, stack.name, first=first, device=request.device)
    if (image := request.file.manifest.image) and not image.aliases:
        tags = ImageTags(tags.own)
    files = find_app_files(request.file)
    built = tuple(
        _build_platform(_Job(request, stack, files, platform), workplace, progress)
        for platform in request.platforms
    )
    found = [(one.platform, one.descriptor) for one in built]
    descriptor = write_index(
        workplace.layout, found, tags.all, _annotations(request, built[0].needs)
    )
    return BuiltImage(descriptor, tags, built)


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


@dataclass(frozen=True, slots=True)
class _Job:
    """One platform of a request."""

    request: ImageRequest
    stack: Stack
    files: AppFiles
    platform: str

    @property
    def locked(self) -> LockedImage:
        return locked_image(self.request.lock, self.stack.name, self.platform)

    @property
    def base(self) -> BaseImage | None:
        return self.request.bases.get(self.platform)

    @property
    def plans(self) -> tuple[ImagePlan, ...]:
        """Those that fit: the CPU's and onnxruntime's always, TensorRT's for the wanted GPU."""
        wanted = ("", "cpu", "cuda", self.request.device)
        return tuple(
            plan
            for plan in self.request.plans
            if runs_in(plan, self.stack, self.platform)
            and (not self.request.device or plan.info.device in wanted)
        )


def _build_platform(job: _Job, workplace: Workplace, progress: Progress) -> BuiltPlatform:
    _check_device(job)
    layout, base = workplace.layout, job.base
    compression = job.request.compression or Compression.parse(job.locked.compression)
    layers = list(base.copy_layers(layout, progress)) if base else []
    layers += _write_layers(job, workplace, compression, progress)
    needs = _requirements(job, layers)
    annotations = _annotations(job.request, needs)
    if base is not None:
        annotations |= base.annotations()
    environment = stack_environment(job.stack, job.locked.interpreter)
    container = container_config((base.environment() if base else {}) | environment, annotations)
    config = image_config(job.platform, job.request.origin.created, container, layers)
    manifest = ImageManifest(
        config=layout.add_blob(iter((encode(config),)), CONFIG),
        layers=tuple(layer.descriptor for layer in layers),
        annotations=annotations,
    )
    descriptor = layout.add_blob(iter((encode(manifest),)), MANIFEST)
    return BuiltPlatform(job.platform, descriptor, needs, tuple(layers))


def _write_layers(
    job: _Job, workplace: Workplace, compression: Compression, progress: Progress
) -> list[Layer]:
    """Fetch, put together, compress; what the caches have is taken from there."""
    locked, name, artifacts = job.locked, job.stack.name, workplace.artifacts
    paths = artifacts.obtain_all(locked, progress)
    with open_interpreter(locked, job.request.lock, artifacts, progress) as interpreter:
        recipe = (
            *package_layers(locked, paths, interpreter, on_base=job.base is not None),
            *app_layers(job.files, name, job.plans),
            *engine_layers(name, job.plans),
        )
        told = _Together(progress, len(recipe))
        return write_layers(recipe, workplace.layout, compression, workplace.cache, told)


class _Together:
    """One progress for layers that are written side by side; shares count in percent."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._total = progress, 100 * count
        self._shares: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, step: str, done: int, total: int) -> None:
        share = 100 * done // (total or 1)
        with self._lock:
            if self._shares.get(step) != share:
                self._shares[step] = share
                self._progress("write the layers", sum(self._shares.values()), self._total)


def _check_device(job: _Job) -> None:
    device = job.request.device
    if not device or any(plan.info.device == device for plan in job.plans):
        return
    have = sorted({plan.info.device for plan in job.request.plans} - {"cpu"})
    raise RecipeInvalid(
        f"there is no engine of the stack {job.stack.name} for {device} (there is one for "
        f"{', '.join(have) or 'no GPU'}); add the GPU to targets.gpus, and run: enginecrate build"
    )


def _requirements(job: _Job, layers: list[Layer]) -> Requirements:
    app, plans, stack = job.request.file.manifest.app, job.plans, job.stack
    capabilities = stack.compute_capabilities
    if job.request.device:
        capabilities = tuple(one for one in capabilities if one.sm == job.request.device)
    instances = job.request.file.manifest.serve.instances
    return Requirements(
        app=app.name,
        version=app.version,
        stack=stack.name,
        platforms=job.request.platforms,
        backends=tuple(dict.fromkeys(rung.backend for rung in stack.rungs)),
        compute_capabilities=capabilities,
        unconfirmed=tuple(one for one in stack.unconfirmed if one in capabilities),
        minimum_driver=stack.minimum_driver,
        gpu_memory_bytes=estimate_gpu_memory(stack, plans, job.files.model_bytes, instances),
        disk_bytes=sum(layer.size for layer in layers),
        download_bytes=sum(layer.descriptor.size for layer in layers),
        engines=engine_notes(plans),
        release=release_tag(app.version),
    )


def _annotations(request: ImageRequest, needs: Requirements) -> dict[str, str]:
    origin, image = request.origin, request.file.manifest.image
    known = about(
        request.file.manifest,
        revision=origin.revision,
        source=image.source if image else "",
        created=origin.created,
    )
    return {**known, **requirement_annotations(needs)}
