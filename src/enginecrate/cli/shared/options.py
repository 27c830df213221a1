"""Options that several verbs share: each is declared once, here or in `secrets`.

A single option is the type of a parameter: `project: Project = Path()`. Options that always come
together are a group: a dataclass whose fields are options. A verb takes a group as one keyword
parameter, and `with_groups` puts the group's options in its place on the command line:

    @with_groups
    def show(reference: str, *, registry: RegistryAccess, as_json: Json = False) -> None:
        open_transport(reference, registry.options())
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginecrate.errors import InputUnreadable, UsageError
from enginecrate.settings import Settings, load_settings, unknown_variables

if TYPE_CHECKING:
    from enginecrate.image.transports.registry import RegistryOptions

__all__ = [
    "Json",
    "Project",
    "RegistryAccess",
    "SettingsFile",
    "SettingsSources",
    "examples",
    "read_input",
    "refuse_together",
    "set_parameters",
    "split_words",
    "with_groups",
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

_CacheDir = Annotated[
    str | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="Folder for built plans (ENGINECRATE_CACHE_DIR; default: the user's cache folder)",
    ),
]

_CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", metavar="FILE", help="Certificates (PEM) to trust for registries, too"
    ),
]

_Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Allow plain HTTP; localhost needs no permission"),
]


@dataclass(frozen=True, slots=True)
class SettingsSources:
    """Options of every verb that reads settings: the file, and the folder for built plans."""

    settings_file: SettingsFile = None
    cache_dir: _CacheDir = None

    def load(self, **flags: Any) -> Settings:
        """The settings for a verb. A flag of its own that was not given is `None`."""
        return _load(self.settings_file, cache_dir=self.cache_dir, **flags)


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Options of every verb that speaks to registries."""

    ca_file: _CaFile = None
    insecure: _Insecure = False

    def options(self) -> RegistryOptions:
        """Options of the registry client; broken downloads wait in the user's cache folder."""
        from enginecrate.image.transports.registry import RegistryOptions

        settings = _load(None)
        return RegistryOptions(
            ca_file=self.ca_file,
            insecure=self.insecure,
            downloads=settings.cache_path / "downloads",
            min_rate=settings.registry_min_rate,
        )


def with_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the options of its groups in place of the groups."""
    parameters = inspect.signature(verb, eval_str=True).parameters.values()
    groups = {
        parameter.name: parameter.annotation
        for parameter in parameters
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }
    options = {name: _options(group) for name, group in groups.items()}

    @wraps(verb)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(*(values.pop(option.name) for option in options[name]))
        verb(**values)

    set_parameters(run, [one for each in parameters for one in options.get(each.name, [each])])
    return run


def set_parameters(verb: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Let a verb appear with these parameters, from which its command line is made."""
    signature = inspect.signature(verb, eval_str=True).replace(parameters=parameters)
    verb.__signature__ = signature  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def examples(*lines: str) -> str:
    """The end of a verb's help: one example a line."""
    # Click keeps the line breaks of a paragraph that begins with a backspace.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def split_words(values: Iterable[str] | None) -> list[str]:
    """Every word of an option that may be repeated, and may hold commas."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def refuse_together(options: Mapping[str, object]) -> None:
    """Refuse options that exclude each other.

    Args:
        options: their values by their names; a false value was not given.

    Raises:
        UsageError: more than one was given.
    """
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one of them")


def read_input(path: Path) -> bytes:
    """The bytes of a photo (or `.npz`) that was named on the command line.

    Raises:
        InputUnreadable: there is no such file, or it may not be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputUnreadable(f"cannot read {path}: {exc.strerror}; check the path") from exc


def _options(group: type) -> list[inspect.Parameter]:
    fields = inspect.signature(group, eval_str=True).parameters.values()
    return [field.replace(kind=inspect.Parameter.KEYWORD_ONLY) for field in fields]


def _load(file: Path | None, **flags: Any) -> Settings:
    for words in unknown_variables():
        typer.echo(f"Warning: {words}", err=True)
    return load_settings(file=file, flags=flags)
