"""The changes that `init` would make to a project that is there already."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from enginecrate.errors import SystemRefused
from enginecrate.files.atomic import write_atomic
from enginecrate.manifest import MANIFEST_NAME

__all__ = ["Changes", "apply_changes", "find_changes"]


@dataclass(frozen=True, slots=True)
class Changes:
    """diff: of the manifests. added, replaced: files, relative to the project."""

    diff: str
    added: tuple[str, ...]
    replaced: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"new file: {name}" for name in self.added]
        lines += [f"replaced: {name}" for name in self.replaced]
        return "\n".join([self.diff.rstrip("\n") or "the manifest stays as it is", *lines])


def find_changes(folder: Path, target: Path, owned: Collection[str]) -> Changes:
    """Compare a new project with the one that is there.

    Args:
        folder: of the new project.
        target: of the one that is there.
        owned: files that are replaced where they differ; all others that exist stay.
    """
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST_NAME
    )
    occupied = {name for name in names if os.path.lexists(target / name)}
    golden = target / "golden"
    added = [
        name
        for name in names
        if name not in occupied and not (name.startswith("golden/") and golden.is_dir())
    ]
    replaced = [name for name in names if name in occupied and name in owned]
    replaced = [name for name in replaced if not _same(folder / name, target / name)]
    old, new = (_text(path / MANIFEST_NAME).splitlines(keepends=True) for path in (target, folder))
    diff = difflib.unified_diff(old, new, f"{MANIFEST_NAME} (now)", f"{MANIFEST_NAME} (new)")
    return Changes("".join(diff), tuple(added), tuple(replaced))


def apply_changes(folder: Path, target: Path, changes: Changes) -> None:
    """Make the changes; the manifest comes last, and every file appears whole.

    Raises:
        SystemRefused: a file cannot be written.
    """
    try:
        for name in (*changes.added, *changes.replaced, MANIFEST_NAME):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target / name, (folder / name).read_bytes())
    except OSError as exc:
        raise SystemRefused(
            f"cannot write in {target}: {exc.strerror}; correct its permissions"
        ) from exc


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
