"""The key of a typed graph: everything that shapes it, or what is known about it."""

from __future__ import annotations

import importlib.metadata

import msgspec

from enginecrate.builder.accuracy.labelled import labelled_files
from enginecrate.builder.project.photo_split import ProjectPhotos
from enginecrate.builder.project.project import Project
from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest
from enginecrate.graph.rewrite.simplify import simplifier
from enginecrate.graph.typed import Scheme
from enginecrate.values import Digest, Precision, current_platform
from enginecrate.version import __version__

__all__ = ["graph_key"]

_FORMAT = 2
"""Raised when the same inputs make another graph than before."""

_LIBRARIES = ("numpy", "onnx", "onnxruntime")


def graph_key(project: Project, precision: Precision, scheme: Scheme, photos: ProjectPhotos) -> str:
    """64 hex digits."""
    section = project.manifest.precision
    # Which of several precisions is built first does not matter to any of them.
    shaping = {"calibration": section.calibration, "accuracy": section.accuracy,
               "allow_mixed": section.allow_mixed, "accept_few": section.accept_few}  # fmt: skip
    parts = {
        "format": _FORMAT,
        "model": str(project.model.source_digest),
        "pipeline": str(pipeline_digest(project)),
        "labels": list(project.labels),
        "photos": photos.digests,
        "labelled": _labelled(project),
        "precision": precision,
        "scheme": scheme,
        "section": shaping,
        "tool": __version__,
        "simplifier": simplifier(),
        "platform": current_platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    return Digest.of(msgspec.json.encode(parts, order="sorted")).hex


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # onnxruntime-gpu brings the same module
        return ""


def _labelled(project: Project) -> list[tuple[str, str]]:
    labelled = project.manifest.precision.accuracy.labelled
    if labelled is None:
        return []
    path = project.root / labelled
    folder = path if path.is_dir() else path.parent
    return [
        (file.relative_to(folder).as_posix(), str(Digest.of_file(file)))
        for file in labelled_files(path)
    ]
