"""`enginecrate calibrate --use`: calibrate where the app runs, and serve with the result."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import CacheNotPersistent

if TYPE_CHECKING:
    from enginecrate.builder.ladder.site_calibration import SiteCalibration
    from enginecrate.builder.project.project import Project
    from enginecrate.manifest.schema import Calibration
    from enginecrate.settings import Settings

__all__ = ["calibrate", "check_cache", "reset"]

_CACHE = "/var/cache/enginecrate"
_VOLUME = "enginecrate-cache"
_HOST_FOLDER = "HOST_FOLDER"
_PODMAN_MARK = Path("/run/.containerenv")


def check_cache(settings: Settings, photos: Path | None, *, volume: bool) -> None:
    """Refuse a cache folder that would be lost after the work.

    Args:
        settings: for the cache folder.
        photos: their folder, for the command that is shown.
        volume: the folder must outlive this container.

    Raises:
        CacheNotPersistent: the message shows the command to use.
    """
    from enginecrate.stacks.machine.mounts import why_not_persistent

    reason = why_not_persistent(settings.cache_path, inside=volume)
    if reason and volume:
        raise CacheNotPersistent(
            f"{reason}, so the engine would be lost; give the container a named volume there, and "
            f"start it with the same one afterwards:\n  {_command(settings, photos)}"
        )
    if reason:
        raise CacheNotPersistent(
            f"{reason}, so the engine could not be kept; choose another folder with --cache-dir"
        )


def calibrate(
    project: Project,
    folder: Path,
    options: Calibration,
    settings: Settings,
    *,
    accept_few: bool,
    as_json: bool,
) -> None:
    """Make the engine, and tell what came of it. Raises as `calibrate_on_site`."""
    import msgspec

    from enginecrate.builder.ladder.site_calibration import calibrate_on_site

    options = msgspec.structs.replace(options, images=str(folder.absolute()))
    with show_progress() as progress:
        done = calibrate_on_site(project, options, settings, progress, accept_few=accept_few)
    if as_json:
        print_json(_as_dict(done))
        return
    for name, reason in done.photos.skipped:
        note(f"skipped {name}: {reason}")
    _show(done)


def reset(project: Project, settings: Settings, *, as_json: bool) -> None:
    """Go back to the app's own engines, whichever stack serves."""
    from enginecrate.builder.ladder.site_plans import forget
    from enginecrate.stacks.catalog import load_stacks

    forgotten = [name for name in load_stacks() if forget(project, name, settings)]
    if as_json:
        print_json({"reset": forgotten})
    elif forgotten:
        typer.echo("the next start serves with the app's own engine")
    else:
        typer.echo("nothing to reset: no engine was calibrated here")


def _as_dict(done: SiteCalibration) -> dict[str, Any]:
    return {
        "target": str(done.target),
        "precision": done.obtained.plan.info.precision,
        "plan": done.choice.plan_digest,
        "calibration": done.choice.calibration,
        "photos": done.choice.photos,
        "skipped": [{"name": name, "reason": reason} for name, reason in done.photos.skipped],
        "evaluation": done.examination.evaluation,
        "speed": _speed(done),
        "record": str(done.path),
    }


def _speed(done: SiteCalibration) -> float | None:
    speed = done.graph.speed
    return round(speed.ratio, 2) if speed else None


def _show(done: SiteCalibration) -> None:
    evaluation, speed = done.examination.evaluation, _speed(done)
    typer.echo(f"engine     {done.target}, plan {done.choice.plan_digest[7:19]}")
    typer.echo(f"photos     {done.choice.photos} to calibrate with")
    if evaluation is not None:
        typer.echo(f"accuracy   {evaluation.agreement}; at least {evaluation.required:g} is wanted")
    if speed is not None:
        typer.echo(f"speed      {speed} times as fast as FP32 on this CPU")
    typer.echo("Start the server again: it serves with this engine (calibrate --reset goes back)")


def _command(settings: Settings, photos: Path | None) -> str:
    """The command line that works, with the words of the one that was used."""
    from enginecrate.stacks.catalog import get_stack

    podman = _PODMAN_MARK.exists() or os.environ.get("container") == "podman"  # noqa: SIM112
    words = ["podman" if podman else "docker", "run", "--rm"]
    if settings.stack and get_stack(settings.stack).is_gpu:
        words += ["--device", "nvidia.com/gpu=all"] if podman else ["--gpus", "all"]
    volume = _photos_volume(photos) if photos is not None else ""
    words += [
        "-v",
        f"{_VOLUME}:{settings.cache_dir or _CACHE}",
        *(["-v", volume] if volume else []),
    ]
    words += [os.environ.get("ENGINECRATE_IMAGE") or "IMAGE", *sys.argv[1:]]
    command = shlex.join(words)
    if volume.startswith(f"{_HOST_FOLDER}:"):
        command += (
            f"\nPut the host's folder with the photos, a whole path, in place of {_HOST_FOLDER}"
        )
    return command


def _photos_volume(photos: Path) -> str:
    """The mount of the photos' folder; the host's part only where a container can know it."""
    from enginecrate.stacks.machine.mounts import find_mount, host_path

    mount = find_mount(photos)
    if mount is None or mount.point == Path("/"):
        return f"{_HOST_FOLDER}:{photos.absolute()}:ro"
    return f"{host_path(mount) or _HOST_FOLDER}:{mount.point}:ro"
