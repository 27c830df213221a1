"""Images as `enginecrate image` prints them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from enginecrate.cli.shared.output import console, escaped, plain

if TYPE_CHECKING:
    from enginecrate.image.assemble import BuiltImage
    from enginecrate.image.facts import ImageFacts
    from enginecrate.image.recipe.annotations import Requirements

__all__ = ["as_dict", "facts_as_dict", "podman_lines", "show_built", "show_facts"]

_MB = 1e6
_PODMAN_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
)
_LONGEST_NAME = 200


def as_dict(built: BuiltImage) -> dict[str, Any]:
    """A new image, for scripts. Sizes are in bytes."""
    return {
        "digest": built.descriptor.digest,
        "tag": built.tags.own,
        "aliases": list(built.tags.aliases),
        "platforms": [
            {
                "platform": one.platform,
                "digest": one.descriptor.digest,
                "needs": _needs(one.needs),
                "layers": [
                    {
                        "title": layer.title,
                        "digest": layer.descriptor.digest,
                        "diff_id": layer.diff_id,
                        "bytes": layer.descriptor.size,
                        "unpacked_bytes": layer.size,
                    }
                    for layer in one.layers
                ],
            }
            for one in built.platforms
        ],
    }


def show_built(images: Sequence[BuiltImage], folder: Path) -> None:
    """Tags, digest, and the layers with their sizes."""
    for built in images:
        typer.secho(built.tags.own, bold=True)
        typer.echo(f"  {built.descriptor.digest}")
        if built.tags.aliases:
            typer.echo(f"  also {', '.join(built.tags.aliases)}")
        if any(one.needs.is_unproven for one in built.platforms):
            typer.secho("  unproven: the app has no golden samples", fg="yellow")
        for platform in built.platforms:
            rows = [(la.title, la.descriptor.size, la.size) for la in platform.layers]
            _show_layers(platform.platform, rows)
    tag, app = images[0].tags.own, images[0].platforms[0].needs.app
    typer.echo("\nNext:")
    for line in (
        *podman_lines(folder, tag, app),
        "enginecrate release create --key KEY.key",
        f"enginecrate image push {shlex.quote(f'oci:{folder}:{tag}')} REGISTRY/REPOSITORY",
    ):
        typer.echo(f"  {line}")


def podman_lines(folder: Path, tag: str, app: str) -> list[str]:
    """The lines that run an image out of a layout, wherever the layout lies.

    Podman makes the image's name from the path, and refuses a path that cannot be one: with
    capitals, spaces, letters beyond ASCII. Then the folder is entered first; where its own name
    cannot be one either, the image goes through a file.
    """
    run = "podman run --rm -p 8000:8000"
    for above, name in ((None, str(folder)), (folder.parent, folder.name)):
        if _PODMAN_NAME.fullmatch(name.lstrip("/")) and len(name) < _LONGEST_NAME:
            line = f"{run} oci:{name}:{tag}"
            return [f"(cd {shlex.quote(str(above))} && {line})" if above else line]
    return [
        f"enginecrate image save {shlex.quote(f'oci:{folder}:{tag}')} {app}.tar "
        f"--name localhost/{app}",
        f"podman load -i {app}.tar && {run} localhost/{app}:{tag}",
    ]


def facts_as_dict(facts: ImageFacts) -> dict[str, Any]:
    """An image, for scripts."""
    return {
        "name": facts.name,
        "digest": facts.digest,
        "tags": list(facts.tags),
        "platforms": [
            {
                "platform": one.platform,
                "digest": one.digest,
                "needs": None if one.needs is None else _needs(one.needs),
                "config": one.config.config,
                "annotations": one.annotations,
                "layers": [
                    {"title": la.title, "digest": la.digest, "bytes": la.size} for la in one.layers
                ],
            }
            for one in facts.platforms
        ],
    }


def show_facts(facts: ImageFacts) -> None:
    """An image, for people."""
    typer.secho(plain(facts.name), bold=True)
    typer.echo(f"  {facts.digest}")
    if facts.tags:
        typer.echo(plain(f"  also {', '.join(facts.tags)}"))
    for platform in facts.platforms:
        _show_layers(platform.platform, [(la.title, la.size, None) for la in platform.layers])
        for name, words in _words(platform.needs) if platform.needs else ():
            typer.echo(plain(f"    {name:<12}{words}"))


def _words(needs: Requirements) -> Iterable[tuple[str, str]]:
    if needs.golden_samples is not None:
        counted = f"{needs.golden_samples} prove it when it starts"
        yield "samples", "none: the app is unproven" if needs.is_unproven else counted
    yield "engines", ", ".join(map(str, needs.engines)) or "none: built at the first start"
    if needs.compute_capabilities:
        yield "GPU", "compute capability " + ", ".join(map(str, needs.compute_capabilities))
        yield "driver", f"at least {needs.minimum_driver}" if needs.minimum_driver else "any"
        yield "GPU memory", f"about {needs.gpu_memory_bytes / _MB:.0f} MB (an estimate)"
    yield "disk", f"{needs.disk_bytes / _MB:.1f} MB, {needs.download_bytes / _MB:.1f} MB to pull"


def _show_layers(platform: str, rows: Sequence[tuple[str, int, int | None]]) -> None:
    """A table of layers: title, MB compressed, MB unpacked where that is known."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"  {escaped(platform)}", overflow="fold")
    table.add_column("MB", justify="right")
    known = all(unpacked is not None for _, _, unpacked in rows)
    if known:
        table.add_column("unpacked", justify="right")
    for title, size, unpacked in [*rows, _sum(rows)]:
        more = [] if unpacked is None else [f"{unpacked / _MB:.1f}"]
        table.add_row(f"  {escaped(title)}", f"{size / _MB:.1f}", *more)
    console().print(table)


def _sum(rows: Sequence[tuple[str, int, int | None]]) -> tuple[str, int, int | None]:
    sizes = [unpacked for _, _, unpacked in rows]
    known = [one for one in sizes if one is not None]
    return (
        "together",
        sum(size for _, size, _ in rows),
        sum(known) if len(known) == len(rows) else None,
    )


def _needs(needs: Requirements) -> dict[str, Any]:
    return {
        "app": needs.app,
        "version": needs.version,
        "stack": needs.stack,
        "backends": list(needs.backends),
        "compute_capabilities": [str(one) for one in needs.compute_capabilities],
        "unconfirmed": [str(one) for one in needs.unconfirmed],
        "minimum_driver": needs.minimum_driver,
        "gpu_memory_bytes": needs.gpu_memory_bytes,
        "disk_bytes": needs.disk_bytes,
        "download_bytes": needs.download_bytes,
        "engines": [str(one) for one in needs.engines],
        "release": needs.release,
        "golden_samples": needs.golden_samples,
    }
