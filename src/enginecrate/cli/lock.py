"""`enginecrate lock`: write down every version and file that a project's stacks resolve to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.exit_codes import EXIT_CODES
from enginecrate.cli.lock_output import as_table, print_lock
from enginecrate.cli.options import CacheDir, Json, Project, SettingsFile, examples, resolve
from enginecrate.cli.output import note, print_json, show_progress
from enginecrate.errors import LockInvalid, LockStale, SystemRefused, UsageError

if TYPE_CHECKING:
    from enginecrate.image.resolve import ArtifactCache
    from enginecrate.image.resolve.locking import Resolved
    from enginecrate.manifest import ManifestFile
    from enginecrate.stacks.lock import Lock

__all__ = ["EXAMPLES", "lock"]

EXAMPLES = examples(
    "enginecrate lock",
    "enginecrate lock --check",
    "enginecrate lock --upgrade --dry-run",
    "enginecrate lock --stack ort-cpu --platform linux/arm64",
    "enginecrate lock --stack trt114-cuda130 --find-links wheels/",
    "enginecrate lock --vendor oci:inputs",
)


def lock(
    project: Project = Path(),
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
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
        typer.Option("--versions-only", help="Lock the stacks' versions, without images; offline"),
    ] = False,
    stack: Annotated[
        list[str] | None,
        typer.Option("--stack", metavar="NAME", help="Resolve images of these stacks alone"),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option("--platform", metavar="NAME", help="Resolve images for these alone"),
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
        typer.Option("--apt-sources", metavar="FILE", help="Debian sources, not this machine's"),
    ] = None,
    extra_index_url: Annotated[
        list[str] | None,
        typer.Option("--extra-index-url", metavar="URL", help="One more index of Python packages"),
    ] = None,
    find_links: Annotated[
        list[str] | None,
        typer.Option("--find-links", metavar="DIR", help="A folder of wheels, as a vendor's"),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Fetch nothing: all packages must be in the cache")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write enginecrate.lock: every version and file of the project's images, with checksums.

    Debian packages and Python wheels are resolved for each stack and platform of the project, and
    fetched into the cache; their sources are those of this machine's apt and pip. What is locked
    stays until --upgrade. Keep the file with the project. When the manifest or a stack changes, the
    lock is stale: build and serve refuse to go on until it was written again.

    A stack whose packages its vendor alone has is left out, unless --extra-index-url or
    --find-links brings them: the rest is written, and the exit code is 11.
    """
    from enginecrate.manifest import load_manifest
    from enginecrate.stacks.lock import LOCK_NAME

    _refuse_contradictions(check=check, versions_only=versions_only, upgrade=upgrade, vendor=vendor)
    file = load_manifest(project)
    path = file.root / LOCK_NAME
    if check:
        _report(path, _checked(file, path), written=False, as_json=as_json)
        return
    settings = resolve(
        settings_file,
        cache_dir=cache_dir,
        apt_sources=apt_sources,
        extra_index_url=_joined(extra_index_url),
        find_links=_joined(find_links),
    )
    with show_progress() as progress:
        from enginecrate.image.resolve import open_cache
        from enginecrate.image.resolve.locking import Resolved, resolve_lock

        previous = _previous(path)
        cache = open_cache(settings, offline=offline, inputs=inputs)
        if versions_only:
            from enginecrate.stacks.lock import make_lock

            found = Resolved(make_lock(file))
        else:
            found = resolve_lock(
                file, previous, cache=cache, stacks=stack or (), platforms=platform or (),
                upgrade=upgrade, fetch=not dry_run, progress=progress,
            )  # fmt: skip
        if vendor and not dry_run:
            _store(found.lock, cache, vendor, progress)
    written = False if dry_run else _write(found.lock, path)
    _report(path, found.lock, previous, found, written=written, as_json=as_json)
