"""The digest of a pipeline: a calibration table depends on it besides model and photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from enginecrate.builder.project.project import Project
from enginecrate.values import Digest

__all__ = ["pipeline_digest"]


def pipeline_digest(project: Project) -> Digest:
    """Digest of the `[pipeline]` section and, with the vendor's own class, of its Python files.

    These are all in the project folder: the class may import any of them.
    """
    spec = project.manifest.pipeline
    section = msgspec.to_builtins(spec)
    del section["stateless"]  # it changes no tensor
    parts = {"section": str(Digest.of(msgspec.json.encode(section, order="sorted")))}
    if spec.module is not None:
        parts |= {
            file.relative_to(project.root).as_posix(): str(Digest.of_file(file))
            for file in _sources(project.root)
        }
    return Digest.of(msgspec.json.encode(parts, order="sorted"))


def _sources(root: Path) -> Iterator[Path]:
    for file in root.rglob("*.py"):
        parts = file.relative_to(root).parts
        # Virtual environments and what builds leave behind are not the project's own.
        if not any(part.startswith(".") or part in ("build", "venv") for part in parts):
            yield file
