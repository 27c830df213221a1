"""`enginecrate calibrate`: find the ranges of the model's activations on photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginecrate.cli.shared.options import Json, Project, SettingsSources, examples, with_groups
from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import (
    CalibrationInvalid,
    InputUnreadable,
    SystemRefused,
    UsageError,
    nearest,
)

if TYPE_CHECKING:
    from enginecrate.builder.project.photos import PhotoSet
    from enginecrate.builder.project.project import Project as OpenProject
    from enginecrate.builder.quantization.calibration import ObtainedTable
    from enginecrate.manifest.schema import Calibration
    from enginecrate.settings import Settings

__all__ = ["EXAMPLES", "calibrate"]

EXAMPLES = examples(
    "enginecrate calibrate photos/",
    "enginecrate calibrate photos/ --method percentile --percentile 99.9",
    "enginecrate calibrate --project car-park --output car-park/calibration.json",
    "enginecrate calibrate photos/ --use",
    "enginecrate calibrate --reset",
)

_METHODS = ("minmax", "entropy", "percentile")
_SHOWN = 10


@with_groups
def calibrate(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Folder of photos (.npz for task tensors); default: the manifest's",
            show_default=False,
        ),
    ] = None,
    project: Project = Path(),
    method: Annotated[
        str | None,
        typer.Option(help="minmax, entropy or percentile (default: the manifest's, or minmax)"),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(min=90, max=100, help="Share of the values, in %, that ranges cover"),
    ] = None,
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Most photos that are used, chosen evenly")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the table here, too")
    ] = None,
    use: Annotated[
        bool,
        typer.Option(
            "--use/--no-use",
            help="Make this machine's INT8 engine, too, and serve with it from the next start on "
            "(an image's entry point does)",
        ),
    ] = False,
    require_volume: Annotated[
        bool,
        typer.Option(
            "--require-volume",
            help="With --use: refuse a cache folder that is lost with the container (an image's "
            "entry point does)",
        ),
    ] = False,
    accept_few: Annotated[
        bool,
        typer.Option(
            "--accept-few", help="With --use: accept an agreement with FP32 that few photos show"
        ),
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Serve with the app's own engine again, and end")
    ] = False,
    *,
    sources: SettingsSources,
    as_json: Json = False,
) -> None:
    """Find the ranges that INT8 and FP8 scales come from, and keep them for `build`."""
    from enginecrate.cli.project import calibrate_on_site

    settings = sources.load()
    if use and not reset:  # before anything takes long
        calibrate_on_site.check_cache(settings, folder, volume=require_volume)
    from enginecrate.builder.project.project import open_project
    from enginecrate.files.atomic import check_writable

    opened = open_project(project, settings)
    if reset:
        calibrate_on_site.reset(opened, settings, as_json=as_json)
        return
    options = _options(opened, method, percentile, max_images)
    photos_folder = _folder(folder, opened, options)
    if use:
        _refuse_output(output)
        calibrate_on_site.calibrate(
            opened, photos_folder, options, settings, accept_few=accept_few, as_json=as_json
        )
        return
    if output is not None:  # before the work, not after it
        if not output.absolute().parent.is_dir():
            raise SystemRefused(f"cannot write {output}: there is no such folder; make it")
        check_writable(output.absolute().parent)
    with show_progress() as progress:
        photos = _photos(opened, photos_folder, progress)
        obtained = _obtain(opened, photos, options, settings, progress)
    if output is not None:
        _write(obtained, output)
    if as_json:
        print_json(_as_dict(obtained, photos))
        return
    _show(obtained, photos, output)


def _refuse_output(output: Path | None) -> None:
    if output is not None:
        raise UsageError("--output goes with --no-use: it writes the table for another machine")


def _options(
    project: OpenProject, method: str | None, percentile: float | None, max_images: int | None
) -> Calibration:
    """The manifest's section, changed by what the command line says."""
    import msgspec

    from enginecrate.manifest.schema import Calibration

    if method is not None and method not in _METHODS:
        raise UsageError(
            f"there is no method {method!r}{nearest(method, _METHODS)}; there are: "
            f"{', '.join(_METHODS)}"
        )
    base = project.manifest.precision.calibration or Calibration(images="")
    if percentile is not None and (method or base.method) != "percentile":
        raise UsageError("--percentile goes with --method percentile")
    given: dict[str, Any] = {"method": method, "percentile": percentile, "max_images": max_images}
    return msgspec.structs.replace(
        base, **{name: value for name, value in given.items() if value is not None}
    )


def _folder(folder: Path | None, project: OpenProject, options: Calibration) -> Path:
    if folder is not None:
        if not folder.is_dir():
            raise InputUnreadable(
                f"there is no folder {folder}; create it and put photos there as the app will see "
                "them (.npz archives for task tensors)"
            )
        return folder
    if not options.images:
        raise CalibrationInvalid(
            "no folder of photos is given: name it on the command line (enginecrate calibrate "
            'DIR), or in the manifest: [precision] calibration = { images = "calibration/" }'
        )
    return project.root / options.images


def _photos(project: OpenProject, folder: Path, progress: Any) -> PhotoSet:
    """The photos of a folder; of the manifest's own, those that `build` calibrates with."""
    from enginecrate.builder.project.photo_split import find_project_photos
    from enginecrate.builder.project.photos import PhotoSet, read_photos

    section = project.manifest.precision.calibration
    if section is None or folder.resolve() != (project.root / section.images).resolve():
        return read_photos(folder, project.pipeline, progress)
    photos = find_project_photos(project, progress)
    return PhotoSet(photos.calibration, photos.skipped)


def _obtain(
    project: OpenProject, photos: PhotoSet, options: Calibration, settings: Settings, progress: Any
) -> ObtainedTable:
    from enginecrate.builder.quantization.calibration import obtain_table
    from enginecrate.graph.rewrite.simplify import simplify

    progress("simplify the graph", 0, 1)
    model = simplify(project.model).model
    return obtain_table(
        project,
        model,
        photos.photos,
        method=options.method,
        percentile=options.percentile,
        max_photos=options.max_images,
        settings=settings,
        progress=progress,
    )


def _write(obtained: ObtainedTable, output: Path) -> None:
    from enginecrate.files.atomic import write_atomic

    try:
        write_atomic(output, obtained.table.encode())
    except OSError as exc:
        raise SystemRefused(f"cannot write {output}: {exc.strerror}; choose another file") from exc


def _as_dict(obtained: ObtainedTable, photos: PhotoSet) -> dict[str, Any]:
    table = obtained.table
    return {
        "table": str(obtained.path),
        "digest": str(table.digest),
        "reused": obtained.reused,
        "method": table.key.method,
        "photos": table.photos - table.copies,
        "copies": table.copies,
        "tensors": len(table.chosen),
        "skipped": [{"name": name, "reason": reason} for name, reason in photos.skipped],
        "warning": obtained.warning or None,
    }


def _show(obtained: ObtainedTable, photos: PhotoSet, output: Path | None) -> None:
    _show_skipped(photos)
    if obtained.warning:
        note(f"Warning: {obtained.warning}")
    table = obtained.table
    reused = "reused: made before of the same model, pipeline and photos"
    copies = f" and {table.copies} changed copies" if table.copies else ""
    typer.echo(f"ranges   {len(table.chosen)} tensors, {table.key.method}")
    typer.echo(f"photos   {table.photos - table.copies}{copies}")
    typer.echo(f"table    {table.digest[:19]} ({reused if obtained.reused else 'made'})")
    typer.echo(f"file     {output or obtained.path}")


def _show_skipped(photos: PhotoSet) -> None:
    count = len(photos.skipped)
    if not count:
        return
    note(f"{count} {'file was' if count == 1 else 'files were'} skipped:")
    for name, reason in photos.skipped[:_SHOWN]:
        note(f"  {name}: {reason}")
    if count > _SHOWN:
        note(f"  and {count - _SHOWN} more; --json lists all")
