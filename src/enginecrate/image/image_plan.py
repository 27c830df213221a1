"""The plan of one image: its layers, its needs, its configuration. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enginecrate.image.formats.oci import ContainerConfig
from enginecrate.image.image_requests import ImageRequest, fitting_plans, locked_image
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import LayerRecipe
from enginecrate.image.recipe.annotations import (
    BASE_LAYERS,
    Requirements,
    app_annotations,
    engine_notes,
    estimate_gpu_memory,
    label_annotations,
    requirement_annotations,
)
from enginecrate.image.recipe.app_files import AppFiles, find_app_files
from enginecrate.image.recipe.app_layers import app_layers, engine_layers
from enginecrate.image.recipe.base_image import BaseImage
from enginecrate.image.recipe.config import container_config, stack_environment
from enginecrate.image.recipe.package_layers import (
    Artifacts,
    open_interpreter,
    package_layers,
)
from enginecrate.image.recipe.plans import ImagePlan
from enginecrate.image.recipe.tags import release_tag
from enginecrate.image.resolve.images import check_images
from enginecrate.manifest.golden_samples import count_samples
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import LockedImage
from enginecrate.values import Progress, no_progress

__all__ = ["PlatformPlan", "annotations_of", "plan_platform"]


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
        """The compression of its layers. Raises `RecipeInvalid`: the lock names an unknown one."""
        return self.request.compression or Compression.parse(self.locked.compression)

    def needs(self, disk_bytes: int, download_bytes: int) -> Requirements:
        """The needs that a host must meet, once the sizes of the layers are known."""
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
            golden_samples=count_samples(
                request.file.root / request.file.manifest.precision.accuracy.golden
            ),
        )

    def annotations(self, needs: Requirements) -> dict[str, str]:
        """The annotations of its manifest."""
        own = annotations_of(self.request, needs)
        if self.base is None:
            return own
        layers = {BASE_LAYERS: str(len(self.base.manifest.layers))}
        return own | self.base.annotations() | layers

    def container(self, needs: Requirements) -> ContainerConfig:
        """The configuration that it starts with."""
        below = self.base.environment() if self.base else {}
        variables = stack_environment(self.stack, self.locked.interpreter)
        return container_config(variables, label_annotations(self.annotations(needs)), below)


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
    plans = fitting_plans(request, stack, platform)
    paths = artifacts.obtain_all(locked, progress)
    on_base = platform in request.bases
    with open_interpreter(locked, request.lock, artifacts, progress) as interpreter:
        recipe = (
            *package_layers(locked, paths, interpreter, on_base=on_base),
            *app_layers(files, stack.name, plans),
            *engine_layers(stack.name, plans),
        )
        yield PlatformPlan(request, stack, locked, files, paths, plans, recipe)


def annotations_of(request: ImageRequest, needs: Requirements) -> dict[str, str]:
    """The annotations of one platform's image, without those of a base below."""
    origin, image = request.origin, request.file.manifest.image
    known = app_annotations(
        request.file.manifest,
        revision=origin.revision,
        source=image.source if image else "",
        created=origin.created,
    )
    return {**known, **requirement_annotations(needs)}
