"""`enginecrate lock`: write down every version that a project's stacks resolve to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.options import Json, Project, examples
from enginecrate.cli.output import print_json
from enginecrate.errors import LockStale, SystemRefused

if TYPE_CHECKING:
    from enginecrate.manifest import ManifestFile
    from enginecrate.stacks.lock import Lock

__all__ = ["EXAMPLES", "lock"]

EXAMPLES = examples(
    "enginecrate lock",
    "enginecrate lock --project ai-inspection",
    "enginecrate lock --check",
)


def lock(
    project: Project = Path(),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; fail when the lock is missing or stale"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write enginecrate.lock: every version of the project's stacks, and the manifest's checksum.

    Keep it with the project. When the manifest or a stack changes, the lock is stale: build and
    serve refuse to go on until it was written again.
    """
    from enginecrate.manifest import load_manifest
    from enginecrate.stacks.lock import LOCK_NAME, make_lock

    file = load_manifest(project)
    path = file.root / LOCK_NAME
    found = _checked(file, path) if check else make_lock(file)
    written = False if check else _write(found, path)
    if as_json:
        print_json({"path": str(path), "written": written, "lock": found})
        return
    stacks = ", ".join(stack.name for stack in found.stacks)
    state = "is written" if written else "is current"
    typer.echo(f"{path} {state}: {stacks}")


def _checked(file: ManifestFile, path: Path) -> Lock:
    from enginecrate.stacks.lock import check_lock

    found = check_lock(file)
    if found is None:
        raise LockStale(f"there is no {path}; write it with: enginecrate lock")
    return found


def _write(lock: Lock, path: Path) -> bool:
    """Write the lock; one that is the same already is left alone."""
    from enginecrate.engines.atomic import write_atomic
    from enginecrate.stacks.lock import render_lock

    content = render_lock(lock)
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        write_atomic(path, content)
    except OSError as exc:
        raise SystemRefused(f"cannot write {path}: {exc.strerror}; correct its folder") from exc
    return True
