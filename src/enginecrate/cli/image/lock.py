"""`enginecrate lock`: write down every version and file that a project's stacks resolve to.

It prints the images, the changes in them, and those that are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.extras import require_extra
from enginecrate.cli.shared.options import (
    Json,
    Project,
    SettingsSources,
    examples,
    refuse_together,
    split_words,
    with_groups,
)
from enginecrate.cli.shared.output import console, note, print_json, show_progress
from enginecrate.errors import (
    EnginecrateError,
    InputUnreadable,
    LockInvalid,
    LockStale,
    ModelUnsupported,
    SystemRefused,
)

if TYPE_CHECKING:
    from enginecrate.image.resolve import ArtifactCache, Refusal
    from enginecrate.image.resolve.changes import Change
    from enginecrate.manifest import ManifestFile
    from enginecrate.stacks.lock import Lock
    from enginecrate.values import Progress

__all__ = ["EXAMPLES", "lock"]

_MB = 1e6
EXAMPLES = examples(
    "enginecrate lock",
    "enginecrate lock --check",
    "enginecrate lock --upgrade --dry-run",
    "enginecrate lock --stack ort-cpu --platform linux/arm64",
    "enginecrate lock --stack trt114-cuda130 --find-links wheels/",
    "enginecrate lock --vendor oci:inputs",
)


@with_groups
def lock(
    project: Project = Path(),
    *,
    sources: SettingsSources,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; fail when the lock is missing or stale"),
    ] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest packages, and show what changes")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing")
    ] = False,
    versions_only: Annotated[
        bool,
        typer.Option("--versions-only", help="Resolve no image; those that fit stay: offline"),
    ] = False,
    stack: Annotated[
        list[str] | None,
        typer.Option("--stack", metavar="NAME", help="Resolve the images of this stack alone"),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform",
            metavar="NAME",
            help="linux/amd64, linux/arm64 or all (default: this machine's, and those in the lock)",
        ),
    ] = None,
    vendor: Annotated[
        str | None,
        typer.Option("--vendor", metavar="PLACE", help="Store all packages as an OCI artifact"),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="PLACE", help="Take packages from what --vendor stored"),
    ] = None,
    apt_sources: Annotated[
        str | None,
        typer.Option(
            "--apt-sources", metavar="FILE", help="apt sources in place of this machine's own"
        ),
    ] = None,
    extra_index_url: Annotated[
        list[str] | None,
        typer.Option("--extra-index-url", metavar="URL", help="One more index of Python packages"),
    ] = None,
    find_links: Annotated[
        list[str] | None,
        typer.Option("--find-links", metavar="DIR", help="A folder of wheels, as of a vendor"),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: what is needed must be there")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write enginecrate.lock: every version and file of the project's images, with checksums.

    Debian packages and Python wheels are resolved for each stack and platform of the project, and
    fetched into the cache. They come from the sources of this machine's apt and pip. What is locked
    stays until --upgrade. Keep the file with the project: when a stack changes, or what the
    manifest asks for (targets.stacks, [image]), the lock is stale, and build and serve refuse to go
    on until it was written again.

    Other platforms than this machine's are fetched when --platform names them; then they stay.

    A stack whose packages only its vendor has is left out, unless --extra-index-url or --find-links
    brings them; where it is locked already, an --upgrade keeps it as it is. The rest is written,
    and the exit code is 11.
    """
    from enginecrate.files.atomic import check_writable
    from enginecrate.image.resolve import lock_versions, open_cache, resolve_lock
    from enginecrate.manifest import load_manifest
    from enginecrate.stacks.lock import LOCK_NAME

    refuse_together({"--check": check, "--versions-only": versions_only, "--upgrade": upgrade})
    refuse_together({"--check": check, "--versions-only": versions_only, "--vendor": vendor})
    refuse_together({"--dry-run": dry_run, "--check": check, "--vendor": vendor})
    file = load_manifest(project)
    path = file.root / LOCK_NAME
    if check:
        _print_lock(path, _checked(file, path), written=False, as_json=as_json)
        return
    if not dry_run:
        check_writable(file.root)
    _require_runtimes(file, split_words(stack))
    previous = _previous(path)
    if versions_only:
        resolved = lock_versions(file, previous)
    else:
        require_extra("image")
        _require_folders(find_links or ())
        settings = sources.load(apt_sources=apt_sources)
        cache = open_cache(
            settings, offline=offline, inputs=inputs,
            extra_index_urls=extra_index_url or (), find_links=find_links or (),
        )  # fmt: skip
        with show_progress() as progress:
            resolved = resolve_lock(
                file, previous, cache=cache,
                stacks=split_words(stack), platforms=split_words(platform),
                upgrade=upgrade, fetch=not dry_run, progress=progress,
            )  # fmt: skip
            if vendor:
                _store(resolved.lock, cache, vendor, progress)
    written = False if dry_run else _write(resolved.lock, path)
    _print_lock(
        path, resolved.lock, written=written, as_json=as_json,
        previous=previous, refused=resolved.refused, dry_run=dry_run,
    )  # fmt: skip
    incomplete = resolved.refused and not versions_only
    raise typer.Exit(EXIT_CODES["incomplete"] if incomplete else SUCCESS)


def _require_runtimes(file: ManifestFile, chosen: Sequence[str]) -> None:
    """Refuse a stack whose best engine is an onnxruntime that is too old for the model.

    A model that cannot be read is left to `build`.
    """
    from enginecrate.graph.onnx.model import read_versions
    from enginecrate.stacks.catalog import load_stacks
    from enginecrate.stacks.model_limits import model_refusal

    try:
        ir_version, opset = read_versions(file.root / file.manifest.model.path)
    except EnginecrateError:
        return
    stacks = load_stacks()
    for name in file.manifest.targets.stacks:
        if name not in stacks or (chosen and name not in chosen):
            continue
        refusal = model_refusal(stacks[name], ir_version, opset)
        if refusal and stacks[name].rungs[0].backend == "onnxruntime":
            raise ModelUnsupported(refusal)


def _require_folders(find_links: Sequence[str]) -> None:
    """Refuse a folder of wheels that is not there, which pip would pass over."""
    for place in find_links:
        if "://" not in place and not Path(place).exists():
            raise InputUnreadable(f"there is no folder {place}; check --find-links")


def _checked(file: ManifestFile, path: Path) -> Lock:
    from enginecrate.image.resolve import check_images
    from enginecrate.stacks.lock import check_lock

    lock = check_lock(file)
    if lock is None:
        raise LockStale(f"there is no {path}; write it with: enginecrate lock")
    check_images(lock, file.manifest)
    return lock


def _previous(path: Path) -> Lock | None:
    """The lock so far, whose versions are kept. A damaged one is written anew, and we say so."""
    from enginecrate.stacks.lock import load_lock

    try:
        return load_lock(path)
    except LockInvalid as exc:
        note(f"{exc}; nothing of it is kept")
        return None


def _store(lock: Lock, cache: ArtifactCache, reference: str, progress: Progress) -> None:
    from enginecrate.image.resolve import open_inputs_target, store_inputs

    files: dict[str, Path] = {}
    for image in lock.images:
        files |= cache.obtain_all(image, progress)
    target, tag = open_inputs_target(reference)
    stored = store_inputs(lock, files, target, tag, progress)
    note(f"all packages are stored in {target.name}, tag {tag}, {stored.digest}")


def _write(lock: Lock, path: Path) -> bool:
    """Write the lock; one that is the same already is left alone."""
    from enginecrate.files.atomic import write_atomic
    from enginecrate.stacks.lock import render_lock

    content = render_lock(lock)
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        write_atomic(path, content)
    except OSError as exc:
        raise SystemRefused(f"cannot write {path}: {exc.strerror}; correct its folder") from exc
    return True


def _print_lock(
    path: Path,
    lock: Lock,
    *,
    written: bool,
    as_json: bool,
    previous: Lock | None = None,
    refused: Sequence[Refusal] = (),
    dry_run: bool = False,
) -> None:
    """Print a lock, the changes since the one before it, and its refused images."""
    from enginecrate.image.resolve.changes import changes

    changed = changes(previous, lock) if previous is not None and previous.images else ()
    if as_json:
        left_out = [
            {"stack": refusal.stack, "platform": refusal.platform, "code": refusal.error.code,
             "message": str(refusal.error), "kept": refusal.kept}
            for refusal in refused
        ]  # fmt: skip
        print_json({"path": str(path), "written": written, "lock": lock, "changes": changed,
                    "refused": left_out})  # fmt: skip
        return
    stacks = ", ".join(stack.name for stack in lock.stacks)
    state = "is written" if written else "is not written: --dry-run" if dry_run else "is current"
    typer.echo(f"{path} {state}: {stacks}")
    _print_images(lock)
    _print_changes(changed)
    for refusal in refused:
        what = "Not upgraded, stays as it was" if refusal.kept else "Left out"
        error = refusal.error
        note(f"{what}: {refusal.stack} for {refusal.platform}: {error} [{error.code}]")


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
    for change in changed:
        where = f"{change.stack} {change.platform}"
        typer.echo(
            f"{where}: {change.name} {change.before or '(new)'} -> {change.after or '(gone)'}"
        )
