"""From a locked project and its plans to an image in an OCI layout.

No daemon, no root, no network beside the sources of packages. Whatever is finished is kept: a build
that was killed goes on where it stopped, and the layout shows an image only when it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.annotations import (
    Requirements,
    about,
    engine_notes,
    estimate_gpu_memory,
    requirement_annotations,
)
from enginecrate.image.app_files import AppFiles, find_app_files
from enginecrate.image.base_image import NO_BASE, BaseImage
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
from enginecrate.image.packages import package_layers
from enginecrate.image.recipe import app_layers, engine_layers
from enginecrate.image.tags import ImageTags, check_tag, image_tags, release_tag
from enginecrate.manifest import ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import Lock, LockedImage
from enginecrate.values import Progress, no_progress

__all__ = ["BuiltImage", "BuiltPlatform", "ImageRequest", "build_image", "locked_image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One image: of one stack, for one or several platforms.

    plans: of the project; those that fit the stack and a platform go in.
    device: `sm86`: bring the engines of this GPU alone; empty: all.
    compression: in place of the locked one.
    source: address of the project's source code, for the annotations.
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
    source: str = ""
    bases: Mapping[str, BaseImage] = {}  # noqa: RUF012 -- never written to


@dataclass(frozen=True, slots=True)
class BuiltPlatform:
    """The image of one platform. engines: the plans that it brings."""

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


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where an image is made. artifacts: gives the locked files (`image.resolve`)."""

    layout: Layout
    artifacts: ArtifactSource
    cache: LayerCache | None = None


def build_image(
    request: ImageRequest, workplace: Workplace, progress: Progress = no_progress
) -> BuiltImage:
    """Write an image into a layout, under its tags.

    The same project, lock, plans and origin give the same digest: on every machine, for every
    user, at any time.

    Args:
        request: what to build.
        workplace: where, and with which caches.
        progress: told what goes on; may be called from several threads.

    Raises:
        RecipeInvalid: the lock has no such image, or what goes in does not fit together.
        ArtifactMissing, ArtifactChanged, SourceUnavailable: a locked package.
        ManifestInvalid: a file that the manifest names is missing.
        MissingExtra: the extra `image` is not installed.
    """
    stack = get_stack(request.stack)
    manifest = request.file.manifest
    first = manifest.targets.stacks[:1] == (stack.name,)
    tags = image_tags(manifest.app.version, stack.name, first=first, device=request.device)
    for tag in tags.all:
        check_tag(tag)
    files = find_app_files(request.file)
    built = [
        _platform(request, stack, files, platform, workplace, progress)
        for platform in request.platforms
    ]
    progress("write the image", 0, 1)
    descriptor = write_index(workplace.layout, [(b.platform, b.descriptor) for b in built], tags.all)
    progress("write the image", 1, 1)
    return BuiltImage(descriptor, tags, tuple(built))
