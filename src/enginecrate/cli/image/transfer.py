"""`enginecrate image push|copy|save|load`: images between registries, folders and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import Json, RegistryAccess, examples, with_groups
from enginecrate.cli.shared.output import plain, print_json, show_progress
from enginecrate.errors import ReferenceInvalid

if TYPE_CHECKING:
    from enginecrate.image.formats.oci import Descriptor
    from enginecrate.image.transports.registry import RegistryOptions

    Done = tuple[Descriptor, tuple[str, ...]]

__all__ = ["add_verbs"]

_PUSH_EXAMPLES = examples(
    "enginecrate image push build/image registry.example.com/isv/app",
    "enginecrate image push build/image:v1.2.0-ort-cpu registry.example.com/isv/app --tag v1.2",
    "enginecrate image push app.tar localhost:5000/app --json",
)
_COPY_EXAMPLES = examples(
    "enginecrate image copy registry.example.com/isv/app:v1.2.0-ort-cpu localhost:5000/app",
    "enginecrate image copy registry.example.com/isv/app:v1.2.0-ort-cpu oci:build/copy",
    "enginecrate image copy app.tar registry.example.com/isv/app:v1.2.0 --platform linux/arm64",
)
_SAVE_EXAMPLES = examples(
    "enginecrate image save registry.example.com/isv/app:v1.2.0-ort-cpu app.tar",
    "enginecrate image save build/image app.tar --name registry.example.com/isv/app",
    "enginecrate image save build/image:v1.2.0-ort-cpu app.tar --also v1.2.0-trt86-cuda122",
)
_LOAD_EXAMPLES = examples(
    "enginecrate image load app.tar registry.example.com/isv/app",
    "enginecrate image load app.tar localhost:5000/isv/app --ca-file company-ca.pem",
)

Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="A tag at the target; may be given several times"),
]
Moving = Annotated[
    bool | None,
    typer.Option(
        "--immutable/--moving",
        help="Whether a tag that names another image stops the copy, or moves (default: only tags "
        "with a whole version, such as v1.2.0-ort-cpu, never move)",
        show_default=False,
    ),
]
Referrers = Annotated[
    bool,
    typer.Option("--referrers/--no-referrers", help="With signatures, SBOMs and statements"),
]


def add_verbs(app: typer.Typer) -> None:
    """Put the four verbs under `enginecrate image`."""
    app.command("push", epilog=_PUSH_EXAMPLES)(push)
    app.command("copy", epilog=_COPY_EXAMPLES)(copy)
    app.command("save", epilog=_SAVE_EXAMPLES)(save)
    app.command("load", epilog=_LOAD_EXAMPLES)(load)


@with_groups
def push(
    source: Annotated[str, typer.Argument(help="An OCI layout (FOLDER[:TAG]) or a .tar file")],
    target: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY[:TAG]")],
    tag: Tags = None,
    immutable: Moving = None,
    referrers: Referrers = True,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Push an image that lies on this machine, with everything that is attached to it.

    Without a tag it keeps the tags that it has; without a tag in SOURCE, all images there go.
    Nothing is sent that the registry has. What broke off goes on when it is run again.
    """
    options = registry.options()
    done = _transfer(source, target, tag or [], immutable, (), referrers, options)
    _report(done, target, as_json=as_json)


@with_groups
def copy(
    source: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY:TAG, FOLDER[:TAG] or .tar")],
    target: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY[:TAG] or oci:FOLDER[:TAG]")],
    tag: Tags = None,
    immutable: Moving = None,
    platform: Annotated[
        str | None,
        typer.Option("--platform", metavar="OS/ARCH", help="One platform of the image alone"),
    ] = None,
    referrers: Referrers = True,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Copy an image between registries, folders and files; its digest stays the same.

    All platforms go, and everything that is attached: signatures, SBOMs, statements.
    """
    options = registry.options()
    platforms = (platform,) if platform else ()
    done = _transfer(source, target, tag or [], immutable, platforms, referrers, options)
    _report(done, target, as_json=as_json)


@with_groups
def save(
    source: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY:TAG or FOLDER[:TAG]")],
    file: Annotated[Path, typer.Argument(help="The archive to write, for example app.tar")],
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="TAG", help="Another image of the same place"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What podman and docker call it (default: as it is called)"),
    ] = None,
    referrers: Referrers = True,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Write an image into one file for a site without network, with everything attached to it.

    The release manifest of its version goes with it when it is in the same place. `podman load`,
    `skopeo` (oci-archive:) and `enginecrate image load` read the file.
    """
    from enginecrate.image.transports.oci_archive_export import release_of
    from enginecrate.image.transports.oci_archive_export import save as write
    from enginecrate.image.transports.reference import open_transport
    from enginecrate.image.transports.registry import Repository

    transport, chosen = open_transport(source, registry.options())
    release = release_of(transport, chosen)
    names = list(dict.fromkeys([chosen, *(also or []), *([release] if release else [])]))
    repository = name or (
        transport.name if isinstance(transport, Repository) else _local_name(names[0])
    )
    with show_progress() as progress:
        roots = write(
            transport, names, file, repository=repository, referrers=referrers, progress=progress
        )
    done = [(root, (tag,)) for root, tag in zip(roots, names, strict=True)]
    _report(done, str(file), as_json=as_json)


@with_groups
def load(
    file: Annotated[Path, typer.Argument(help="An archive that `image save` wrote")],
    target: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY or oci:FOLDER")],
    tag: Tags = None,
    immutable: Moving = None,
    referrers: Referrers = True,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Put every image of an archive into a registry or folder, with everything attached to it.

    Digests and tags stay as they are, so signatures still hold. An archive that other programs
    would read differently is refused.
    """
    options = registry.options()
    done = _transfer(f"oci-archive:{file}", target, tag or [], immutable, (), referrers, options)
    _report(done, target, as_json=as_json)


def _transfer(
    source: str,
    target: str,
    tags: Sequence[str],
    immutable: bool | None,
    platforms: Sequence[str],
    referrers: bool,
    options: RegistryOptions,
) -> list[Done]:
    from enginecrate.image.transports.copy import copy_images
    from enginecrate.image.transports.oci_archive import Archive
    from enginecrate.image.transports.oci_archive_check import refuse_faults
    from enginecrate.image.transports.reference import find_transport, open_target

    origin, name = find_transport(source, options)
    if isinstance(origin, Archive):
        refuse_faults(origin)  # before the target's folder is made
    goal, goal_name = open_target(target, options)
    with show_progress() as progress:
        return copy_images(
            origin, name, goal, _target_tags(goal_name, tags), immutable=immutable,
            platforms=platforms, referrers=referrers, progress=progress,
        )  # fmt: skip


def _target_tags(name: str, tags: Sequence[str]) -> list[str]:
    from enginecrate.image.recipe.tags import check_tag

    if name.startswith("sha256:"):
        raise ReferenceInvalid(
            "the target has a digest; the image keeps its own: leave it out, or write a tag"
        )
    return [check_tag(tag) for tag in dict.fromkeys([*([name] if name else []), *tags])]


def _local_name(name: str) -> str:
    """The repository for an image that was in no registry yet."""
    return "" if name.startswith("sha256:") else "localhost/image"


def _report(done: Sequence[Done], target: str, *, as_json: bool) -> None:
    if as_json:
        images = [
            {"digest": str(one.digest), "media_type": one.media_type, "tags": list(tags)}
            for one, tags in done
        ]
        print_json({"target": target, "images": images})
        return
    for root, tags in done:
        typer.echo(plain(f"{target}: {root.digest} {' '.join(tags)}".rstrip()))
