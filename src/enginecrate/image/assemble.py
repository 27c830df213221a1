"""The assembly of an image in an OCI layout, of a locked project and its plans.

No daemon, no root, no network beside the sources of packages. Whatever is finished is kept: a build
that was killed goes on where it stopped, and the layout shows an image only when it is whole.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from enginecrate.image.formats.oci import CONFIG, MANIFEST, Descriptor, ImageManifest, encode
from enginecrate.image.image_plan import PlatformPlan, annotations_of, plan_platform
from enginecrate.image.image_requests import ImageRequest, tags_of
from enginecrate.image.layers.base_files import BaseFiles
from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.entries import Layer, key_of
from enginecrate.image.layers.libraries import check_libraries
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.packages.wheels import WheelContents
from enginecrate.image.layers.writer import write_layers
from enginecrate.image.multi_platform import write_index
from enginecrate.image.recipe.annotations import Requirements, index_annotations
from enginecrate.image.recipe.config import image_config
from enginecrate.image.recipe.package_layers import Artifacts
from enginecrate.image.recipe.tags import ImageTags
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["BuildFolders", "BuiltImage", "BuiltPlatform", "build_image"]


@dataclass(frozen=True, slots=True)
class BuildFolders:
    """The folders of a build.

    layout: receives the image. artifacts: gives the locked files. cache: of finished layers.
    notes: remembers the sets of packages whose libraries were complete.
    """

    layout: Layout
    artifacts: Artifacts
    cache: LayerCache | None = None
    notes: Path | None = None


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
    request: ImageRequest, folders: BuildFolders, progress: Progress = no_progress
) -> BuiltImage:
    """Write an image into a layout, under its tags.

    The same project, lock, plans and origin give the same digest: on every machine, for every
    user, at any time.

    Args:
        request: what to build.
        folders: where, and with which caches.
        progress: told what goes on; called from several threads.

    Raises:
        RecipeInvalid: the lock has no such image, or what goes in does not fit together.
        LockStale: the lock was resolved for something else.
        ArtifactMissing, ArtifactChanged, SourceUnavailable: a locked package.
        ManifestInvalid: a file that the manifest names is missing.
        ReferenceInvalid: the app's version cannot be a tag.
        MissingExtra: the extra `image` is not installed.
    """
    tags = tags_of(request)
    built = []
    for platform in request.platforms:
        with plan_platform(request, platform, folders.artifacts, progress) as plan:
            built.append(_write(plan, folders, progress))
    manifests = [(one.platform, one.descriptor) for one in built]
    annotations = index_annotations(annotations_of(request, built[0].needs))
    descriptor = write_index(folders.layout, manifests, tags.all, annotations)
    return BuiltImage(descriptor, tags, tuple(built))


def _write(plan: PlatformPlan, folders: BuildFolders, progress: Progress) -> BuiltPlatform:
    layout, platform = folders.layout, plan.locked.platform
    if plan.base is None:
        _check_libraries(plan, folders.notes, progress)
    layers = list(plan.base.copy_layers(layout, progress)) if plan.base else []
    shared = _SharedProgress(progress, len(plan.recipe))
    layers += write_layers(plan.recipe, layout, plan.compression, folders.cache, shared)
    needs = plan.needs(
        sum(layer.size for layer in layers), sum(layer.descriptor.size for layer in layers)
    )
    config = image_config(platform, plan.request.origin.created, plan.container(needs), layers)
    manifest = ImageManifest(
        config=layout.add_blob(iter((encode(config),)), CONFIG),
        layers=tuple(layer.descriptor for layer in layers),
        annotations=plan.annotations(needs),
    )
    descriptor = layout.add_blob(iter((encode(manifest),)), MANIFEST)
    return BuiltPlatform(platform, descriptor, needs, tuple(layers))


def _check_libraries(plan: PlatformPlan, notes: Path | None, progress: Progress) -> None:
    """Every library that a program of the image loads must be there. Raises `RecipeInvalid`."""
    kinds = (BaseFiles, DebContents, WheelContents)
    contents = [one for layer in plan.recipe for one in layer if isinstance(one, kinds)]
    key = key_of("libraries 1", *(one.key for one in contents))
    note = notes / f"{Digest(key).hex}.complete" if notes else None
    if note is not None and note.is_file():
        return
    progress("check the libraries", 0, 1)
    check_libraries(contents)
    progress("check the libraries", 1, 1)
    if note is not None:
        with contextlib.suppress(OSError):  # it is checked again the next time
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()


class _SharedProgress:
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
