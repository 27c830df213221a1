"""Options of every command that speaks to registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import resolve

if TYPE_CHECKING:
    from enginecrate.image.places.registry import RegistryOptions

__all__ = ["CaFile", "Insecure", "registry_options"]

CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", help="Certificates (PEM) to trust for registries, too"
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Allow plain HTTP; localhost needs no permission"),
]


def registry_options(ca_file: Path | None, *, insecure: bool) -> RegistryOptions:
    """How registries are spoken to; broken downloads wait in the user's cache folder."""
    from enginecrate.image.places.registry import RegistryOptions

    downloads = resolve(None).cache_path / "downloads"
    return RegistryOptions(ca_file=ca_file, insecure=insecure, downloads=downloads)
