"""Options that several verbs share.

Options of every command that speaks to registries.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginecrate.errors import InputUnreadable
from enginecrate.settings import Settings, load_settings, unknown_variables

if TYPE_CHECKING:
    from enginecrate.image.transports.registry import RegistryOptions


__all__ = [
    "CaFile",
    "CacheDir",
    "Insecure",
    "Json",
    "Project",
    "SettingsFile",
    "examples",
    "read_input",
    "registry_options",
    "resolve",
]

Project = Annotated[
    Path,
    typer.Option(
        "--project",
        "-p",
        metavar="PATH",
        help="Project folder, or its enginecrate.toml (default: the current folder)",
        show_default=False,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts")]

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE", help="Settings file (TOML; see docs/settings.md)"),
]

CacheDir = Annotated[
    str | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="Folder for built plans (ENGINECRATE_CACHE_DIR; default: the user's cache folder)",
    ),
]


def examples(*lines: str) -> str:
    """The end of a verb's help: one example a line."""
    # Click keeps the line breaks of a paragraph that begins with a backspace.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def resolve(file: Path | None, **flags: Any) -> Settings:
    """The settings for a verb. A flag that was not given is `None`."""
    for words in unknown_variables():
        typer.echo(f"Warning: {words}", err=True)
    return load_settings(file=file, flags=flags)


def read_input(path: Path) -> bytes:
    """The bytes of a photo (or `.npz`) that was named on the command line.

    Raises:
        InputUnreadable: there is no such file, or it may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputUnreadable(f"cannot read {path}: {exc.strerror}; check the path") from exc


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
    from enginecrate.image.transports.registry import RegistryOptions

    downloads = resolve(None).cache_path / "downloads"
    return RegistryOptions(ca_file=ca_file, insecure=insecure, downloads=downloads)
