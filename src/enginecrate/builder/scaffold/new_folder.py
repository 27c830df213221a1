"""A new folder that appears complete or not at all, or changes a project that is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path

from enginecrate.builder.scaffold.changes import apply_changes, find_changes
from enginecrate.errors import InputUnreadable, ProjectExists, SystemRefused
from enginecrate.files.atomic import scratch_folder
from enginecrate.manifest import MANIFEST_NAME

__all__ = ["copy_file", "new_folder"]


@contextmanager
def new_folder(
    target: Path, *, force: bool = False, owned: Set[str] = frozenset()
) -> Iterator[Path]:
    """A hidden folder beside `target` to write into; at the end it takes the target's name.

    Args:
        target: of the project.
        force: change a project that is there: its manifest is replaced, and all files stay but
            those in `owned`.
        owned: files that the new manifest names.

    Raises:
        ProjectExists: there is something at `target`, other than an empty folder; for a project
            the error has the changes that `force` would make.
        SystemRefused: the folder cannot be written; nothing is left behind.
    """
    project = (target / MANIFEST_NAME).is_file()
    if not project:
        _refuse_existing(target)
    with ExitStack() as stack:
        try:
            parent = target.resolve().parent if project else target.parent
            parent.mkdir(parents=True, exist_ok=True)
            name = target.resolve().name if project else target.name
            folder = stack.enter_context(scratch_folder(parent, name, 0o777))
        except OSError as exc:
            raise SystemRefused(
                f"cannot write in {target.parent}: {exc.strerror}; choose another folder"
            ) from exc
        try:
            yield folder
            if not project:
                folder.rename(target)
        except OSError as exc:
            _refuse_existing(target)
            raise SystemRefused(
                f"cannot write {target}: {exc.strerror or exc}; nothing was left behind"
            ) from exc
        if project:
            _change(folder, target, owned, force=force)


def _change(folder: Path, target: Path, owned: Set[str], *, force: bool) -> None:
    changes = find_changes(folder, target, owned)
    if not force:
        raise ProjectExists(
            f"{target} is a project already and is left as it is; --force writes the new manifest "
            "and keeps the other files",
            changes=str(changes),
        )
    apply_changes(folder, target, changes)


def copy_file(source: Path, copy: Path) -> None:
    """Copy contents only: an installed file may be read-only, its copy must not be.

    Raises:
        InputUnreadable: there is no such file, or it may not be read.
    """
    try:
        with source.open("rb") as original:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("xb") as written:
                shutil.copyfileobj(original, written)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as exc:
        raise InputUnreadable(f"cannot read {source}: {exc.strerror}; check the path") from exc


def _refuse_existing(target: Path) -> None:
    """An empty folder may be replaced, unless somebody's shell stands in it."""
    if not (target.exists() or target.is_symlink()):
        return
    empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    if not empty or target.resolve() == Path.cwd():
        raise ProjectExists(
            f"{target} exists already and is left as it is; choose another name, or remove it"
        )
