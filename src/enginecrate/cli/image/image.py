"""`enginecrate image`: build images, show them, export a Dockerfile, and move them about."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.image import transfer as image_transfer
from enginecrate.cli.image.requests import project_requests
from enginecrate.cli.shared.exit_codes import EXIT_CODES
from enginecrate.cli.shared.extras import require_extra
from enginecrate.cli.shared.options import (
    Json,
    Project,
    RegistryAccess,
    SettingsSources,
    examples,
    split_words,
    with_groups,
)
from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import EnginecrateError, VerificationIncomplete

if TYPE_CHECKING:
    from enginecrate.image.assemble import BuiltImage
    from enginecrate.image.image_requests import RequestOptions
    from enginecrate.settings import Settings

__all__ = ["create_app"]

_BUILD = examples(
    "enginecrate image build",
    "enginecrate image build --stack ort-cpu --platform linux/amd64,linux/arm64",
    "enginecrate image build --stack trtrtx17-cuda130 --gpu A10",
    "enginecrate image build --offline --json > image.json",
)
_DOCKERFILE = examples(
    "enginecrate image dockerfile context/",
    "enginecrate image dockerfile context/ --stack trtrtx17-cuda130",
)
_SHOW = examples(
    "enginecrate image show oci:build/image:v1.2.0-ort-cpu",
    "enginecrate image show registry.example.com/isv/ai-inspection:v1.2.0-ort-cpu --json",
)

Stacks = Annotated[
    list[str] | None,
    typer.Option("--stack", metavar="NAME", help="Images of these stacks alone (default: all)"),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Fetch nothing: all packages must be in the cache")
]
Inputs = Annotated[
    str | None,
    typer.Option("--inputs", metavar="PLACE", help="Take packages from what lock --vendor stored"),
]


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Images: build them, look at them, push, copy, save and load them.")
    app.command("build", epilog=_BUILD)(build)
    app.command("dockerfile", epilog=_DOCKERFILE)(dockerfile)
    app.command("show", epilog=_SHOW)(show)
    image_transfer.add_verbs(app)
    return app


@with_groups
def build(
    project: Project = Path(),
    *,
    sources: SettingsSources,
    stack: Stacks = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform",
            metavar="NAME",
            help="linux/amd64, linux/arm64, or all that are locked (default: this machine's)",
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="NAME", help="An image with the engines of this GPU alone"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="OCI layout (default: build/image)"),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(
            "--compression",
            metavar="TEXT",
            help="In place of the locked one, for example 'gzip 1.2.13 level 9'",
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="TEXT", help="Commit to name (default: git's own)"),
    ] = None,
    base_image: Annotated[
        str | None,
        typer.Option(
            "--base-image", metavar="PLACE", help="The vendor's image below (Jetson): a reference"
        ),
    ] = None,
    inputs: Inputs = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Build the project's images into an OCI layout.

    The plans are built (or come from the cache), then the locked packages, the app and the plans
    are written as layers. Nothing floats: without enginecrate.lock there is no image. No daemon and
    no root are needed. The same project gives the same digest everywhere.

    Killing it at any moment is harmless: run it again, and it goes on where it stopped.
    """
    from enginecrate.image.image_requests import RequestOptions

    settings = sources.load()
    options = RequestOptions(
        stacks=split_words(stack),
        platforms=split_words(platform),
        gpus=split_words(gpu),
        compression=compression or "",
        revision=revision or "",
        base_image=base_image or "",
    )
    built, notes, folder = _build(project, settings, options, output, inputs, offline=offline)
    if as_json:
        from enginecrate.cli.image.output import as_dict

        print_json(
            {"layout": str(folder), "images": [as_dict(image) for image in built], "notes": notes}
        )
    else:
        from enginecrate.cli.image.output import show_built

        show_built(built, folder)
        for line in notes:
            note(f"Note: {line}")
    if any(line.startswith("the lock has no image") for line in notes):
        raise typer.Exit(EXIT_CODES[VerificationIncomplete.kind])


def _build(
    project: Path,
    settings: Settings,
    options: RequestOptions,
    output: Path | None,
    inputs: str | None,
    *,
    offline: bool,
) -> tuple[list[BuiltImage], list[str], Path]:
    from enginecrate.files.atomic import check_writable
    from enginecrate.image.assemble import BuildFolders, build_image
    from enginecrate.image.layers.cache import LayerCache
    from enginecrate.image.resolve import open_cache
    from enginecrate.image.transports.layout import Layout
    from enginecrate.manifest import load_manifest

    require_extra("image")
    folder = output or load_manifest(project).root / "build" / "image"
    check_writable(folder)
    with show_progress() as progress:
        requests, notes = project_requests(project, settings, options, progress)
        folders = BuildFolders(
            Layout(folder, create=True),
            open_cache(settings, offline=offline, inputs=inputs),
            LayerCache(settings.cache_path / "layers"),
            settings.cache_path / "layers",
        )
        built = [build_image(request, folders, progress) for request in requests]
        try:
            folders.layout.prune()
        except EnginecrateError as exc:  # the images are there, and that is what was asked for
            notes.append(f"what is not needed any more in {folder} was not removed: {exc}")
    return built, notes, folder


@with_groups
def dockerfile(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The build context; it must not exist")
    ],
    project: Project = Path(),
    *,
    sources: SettingsSources,
    stack: Stacks = None,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="NAME", help="Default: this machine's")
    ] = None,
    inputs: Inputs = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Write a Dockerfile with everything that it needs: the same lock, for other builders.

    Docker, BuildKit and buildah make the same files and the same configuration of it, without any
    network. Their layers and digests are their own.
    """
    from enginecrate.files.atomic import check_writable
    from enginecrate.image.dockerfile import refuse_existing, write_context
    from enginecrate.image.image_requests import RequestOptions
    from enginecrate.image.resolve import open_cache

    require_extra("image")
    refuse_existing(folder)
    check_writable(folder)
    settings = sources.load()
    options = RequestOptions(stacks=split_words(stack), platforms=[platform] if platform else [])
    with show_progress() as progress:
        requests, notes = project_requests(project, settings, options, progress)
        cache = open_cache(settings, offline=offline, inputs=inputs)
        written = write_context(requests[0], cache, folder, progress)
    if as_json:
        print_json(
            {"context": str(folder), "stack": requests[0].stack, "tags": written, "notes": notes}
        )
        return
    for line in notes:
        note(f"Note: {line}")
    typer.echo(f"{folder}: {requests[0].stack}\n\nNext:")
    typer.echo(f"  docker build -t {written[0]} {quote(str(folder))}")


@with_groups
def show(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="oci:DIR[:TAG], FILE.tar[:TAG], or registry/repository:tag"
        ),
    ],
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Show what an image needs and what it is made of; nothing but small manifests is fetched."""
    from enginecrate.cli.image.output import facts_as_dict, show_facts
    from enginecrate.image.facts import read_facts
    from enginecrate.image.transports.reference import open_transport

    options = registry.options()
    source, name = open_transport(reference, options)
    facts = read_facts(source, name)
    if as_json:
        print_json(facts_as_dict(facts))
    else:
        show_facts(facts)
