"""A project: its manifest, and everything that the manifest names, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.build.profiles import check_profiles
from enginecrate.graph.model import OnnxModel, read_model
from enginecrate.manifest import Manifest, ManifestFile, check_files, load_manifest
from enginecrate.pipelines.base import Limits, Pipeline
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.settings import Settings
from enginecrate.stacks.lock import check_lock
from enginecrate.values import Profile

__all__ = ["Project", "open_project"]


@dataclass(frozen=True, slots=True)
class Project:
    """A project that was opened. The model is as the vendor gave it."""

    file: ManifestFile
    model: OnnxModel
    labels: Sequence[str]
    pipeline: Pipeline
    profiles: tuple[Profile, ...]
    limits: Limits

    @property
    def manifest(self) -> Manifest:
        return self.file.manifest

    @property
    def root(self) -> Path:
        return self.file.root

    @property
    def golden(self) -> Path:
        """The folder of golden samples; it need not exist."""
        return self.root / self.manifest.precision.accuracy.golden


def open_project(path: Path, settings: Settings) -> Project:
    """Read a project. Runs nothing but the constructor of the ISV's own pipeline, if it has one.

    Args:
        path: the project folder, or its manifest.
        settings: for the limits on what a client may send.

    Raises:
        ProjectError: the manifest, a file that it names, the labels, or a stale lock.
        GraphError: the model.
        PipelineError: the `[pipeline]` section does not fit the model.
    """
    file = load_manifest(path)
    check_files(file)
    check_lock(file)
    spec = file.manifest.pipeline
    model = read_model(file.root / file.manifest.model.path)
    profiles = check_profiles(file.manifest, file.path, model)
    labels = load_labels(file.root / spec.labels) if spec.labels else []
    limits = Limits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_image_pixels)
    pipeline = create_pipeline(spec, model.inputs, model.outputs, labels, file.root, limits)
    return Project(file, model, labels, pipeline, profiles, limits)
