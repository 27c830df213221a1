"""Facts about a project: its manifest and its lock, with problems as facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enginecrate.errors import ProjectError, StackError
from enginecrate.manifest import ManifestFile, load_manifest
from enginecrate.stacks.lock import Lock, check_lock

__all__ = ["ProjectFacts", "probe_project"]


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """file: the manifest; `None`: it cannot be used, and `problem` says why.

    lock: `None`: there is none, or it cannot be used, and `lock_problem` says why.
    """

    path: Path
    file: ManifestFile | None = None
    problem: str = ""
    lock: Lock | None = None
    lock_problem: str = ""


def probe_project(path: Path) -> ProjectFacts:
    """Read a project's manifest and lock. Nothing is raised for what is wrong with them."""
    try:
        file = load_manifest(path)
    except ProjectError as exc:
        return ProjectFacts(path, problem=str(exc))
    try:
        return ProjectFacts(path, file, lock=check_lock(file))
    except (ProjectError, StackError) as exc:
        return ProjectFacts(path, file, lock_problem=str(exc))
