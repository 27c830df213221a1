"""A project: its manifest, and everything that the manifest names, read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.errors import ManifestInvalid, nearest
from enginecrate.graph.describe.metadata import read_metadata
from enginecrate.graph.isolation import isolated
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.manifest import Manifest, ManifestFile, check_files, load_manifest
from enginecrate.pipelines.base import Limits, Pipeline
from enginecrate.pipelines.label_check import check_labels
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.settings import Settings
from enginecrate.stacks.lock import check_lock
from enginecrate.values import PipelineSpec, Profile

__all__ = ["Project", "label_notes", "open_project", "open_served_project", "profile_faults"]

Shape = tuple[int, ...]

_NAMED = ("classification", "detection")
"""Tasks whose answers name classes."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project that was opened. The model is as the vendor gave it.

    notes: what the labels do not share with the names in the model, sentence by sentence.
    """

    file: ManifestFile
    model: OnnxModel
    labels: Sequence[str]
    pipeline: Pipeline
    profiles: tuple[Profile, ...]
    limits: Limits
    notes: tuple[str, ...] = ()

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


def open_served_project(path: Path, settings: Settings) -> Project:
    """`open_project` for a process that reads one model and stays.

    The process that checks models is ended, so that its memory is free again.
    """
    try:
        return open_project(path, settings)
    finally:
        isolated.stop()


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
    profiles = _check_profiles(file.manifest, file.path, model)
    labels = load_labels(file.root / spec.labels) if spec.labels else []
    notes = label_notes(spec, labels, model)
    limits = Limits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_image_pixels)
    pipeline = create_pipeline(spec, model.inputs, model.outputs, labels, file.root, limits)
    return Project(file, model, labels, pipeline, profiles, limits, notes)


def label_notes(spec: PipelineSpec, labels: Sequence[str], model: OnnxModel) -> tuple[str, ...]:
    """The differences between the labels and the names in the model's metadata.

    Raises:
        LabelsInvalid: a name stands there twice, or the order is another one.
    """
    if spec.task not in _NAMED or (spec.module and not labels):
        return ()
    return tuple(check_labels(labels, read_metadata(model.proto).labels, spec.labels))


def _check_profiles(manifest: Manifest, path: Path, model: OnnxModel) -> tuple[Profile, ...]:
    """The profiles as the backends take them.

    Args:
        manifest: with profiles whose shapes grow already (the manifest's own check).
        path: of the manifest, for messages.
        model: whose inputs the profiles must fit.

    Raises:
        ManifestInvalid: the message lists every shape that does not fit the model.
    """
    faults = [
        f"  model.profiles[{number}]: {fault}" for number, fault in profile_faults(manifest, model)
    ]
    if faults:
        raise ManifestInvalid("\n".join([f"{path}: profiles do not fit the model", *faults]))
    return tuple(_profiles(manifest))


def profile_faults(manifest: Manifest, model: OnnxModel) -> Iterator[tuple[int, str]]:
    """The number of each profile that does not fit the model, and what is wrong with it."""
    for number, profile in enumerate(_profiles(manifest)):
        for fault in _profile_faults(profile, model):
            yield number, fault


def _profiles(manifest: Manifest) -> Iterator[Profile]:
    for section in manifest.model.profiles:
        yield {
            name: (tuple(low), tuple(best), tuple(high))
            for name, (low, best, high) in section.items()
        }


def _profile_faults(profile: Profile, model: OnnxModel) -> Iterator[str]:
    specs = {spec.name: spec for spec in model.inputs}
    for name, shapes in profile.items():
        if name not in specs:
            yield (
                f"the model has no input {name!r}{nearest(name, specs)}; "
                f"its inputs are: {', '.join(specs)}"
            )
            continue
        wrong = [shape for shape in shapes if not _fits(shape, specs[name].shape)]
        if wrong:
            yield f"{list(wrong[0])} does not fit the input {specs[name]} (-1: any size)"
    for name, spec in specs.items():
        if -1 in spec.shape and name not in profile:
            yield f"the input {spec} has dynamic dimensions, and the profile does not name it"


def _fits(shape: Shape, spec: Shape) -> bool:
    return len(shape) == len(spec) and all(
        size in (-1, given) for given, size in zip(shape, spec, strict=True)
    )
