"""What `enginecrate lock` prints: the images, what changed in them, what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from enginecrate.cli.shared.output import console, note, print_json

if TYPE_CHECKING:
    from enginecrate.image.resolve import Refusal
    from enginecrate.image.resolve.changes import Change
    from enginecrate.stacks.lock import Lock

__all__ = ["print_lock"]

_MB = 1e6


def print_lock(
    path: Path,
    lock: Lock,
    *,
    written: bool,
    as_json: bool,
    previous: Lock | None = None,
    refused: Sequence[Refusal] = (),
    dry_run: bool = False,
) -> None:
    """Print a lock, what changed since the one before it, and what it lacks."""
    from enginecrate.image.resolve.changes import changes

    changed = changes(previous, lock) if previous is not None and previous.images else ()
    if as_json:
        left_out = [
            {"stack": one.stack, "platform": one.platform, "code": one.error.code,
             "message": str(one.error), "kept": one.kept}
            for one in refused
        ]  # fmt: skip
        print_json({"path": str(path), "written": written, "lock": lock, "changes": changed,
                    "refused": left_out})  # fmt: skip
        return
    stacks = ", ".join(stack.name for stack in lock.stacks)
    state = "is written" if written else "is not written: --dry-run" if dry_run else "is current"
    typer.echo(f"{path} {state}: {stacks}")
    _print_images(lock)
    _print_changes(changed)
    for one in refused:
        what = "Not upgraded, stays as it was" if one.kept else "Left out"
        note(f"{what}: {one.stack} for {one.platform}: {one.error} [{one.error.code}]")


def _print_images(lock: Lock) -> None:
    from rich.table import Table

    if not lock.images:
        note("No images are locked; `enginecrate lock` resolves them")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("image of", "platform", "debs", "wheels", "MB"):
        table.add_column(name, justify="right" if name in ("debs", "wheels", "MB") else "left")
    for image in lock.images:
        size = sum(package.size for package in image.packages) / _MB
        table.add_row(
            image.stack, image.platform, str(len(image.debs)), str(len(image.wheels)), f"{size:.0f}"
        )
    console().print(table)


def _print_changes(changed: Sequence[Change]) -> None:
    for one in changed:
        where = f"{one.stack} {one.platform}"
        typer.echo(f"{where}: {one.name} {one.before or '(new)'} -> {one.after or '(gone)'}")
