"""`enginecrate serve`: the server, with a flag for every setting."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from enginecrate.cli.shared.options import Json, Project, SettingsFile, examples, set_parameters
from enginecrate.cli.shared.output import note, print_json
from enginecrate.errors import EnginecrateError
from enginecrate.settings import SETTINGS, Setting, Settings, load_settings

__all__ = ["EXAMPLES", "serve"]

EXAMPLES = examples(
    "enginecrate serve",
    "enginecrate serve --host 0.0.0.0 --http-port 9000",
    "enginecrate serve --settings server.toml --log-format json",
    "ENGINECRATE_HTTP_PORT=0 enginecrate serve --project ai-inspection",
)

_ADDRESSES = {"url": "", "dashboard": "/", "docs": "/docs", "predict": "/v1/predict"}

_METAVARS = {int: "N", float: "NUMBER", str: "TEXT"}


def _flag(setting: Setting) -> inspect.Parameter:
    # Text for every type: the settings table reads and bounds values the same way from any source.
    choices = "|".join([*setting.choices, *(["N"] if setting.may_be_number else [])])
    default = f"; default: {setting.default}" if setting.default != "" else ""
    option = typer.Option(
        setting.flag,
        metavar=choices or _METAVARS[type(setting.default)],
        help=f"{setting.help} ({setting.environment}{default})",
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _with_flags(function: Callable[..., None]) -> Callable[..., None]:
    """Give `function` a flag for every row of the settings table, in place of its `**flags`."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    fixed = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    set_parameters(function, [*fixed, *(_flag(setting) for setting in SETTINGS)])
    return function


@_with_flags
def serve(
    project: Project = Path(),
    settings_file: SettingsFile = None,
    as_json: Json = False,
    **flags: Any,
) -> None:
    """Serve the app over HTTP.

    The dashboard is at /, the documentation of the API at /docs, photos go to POST /v1/predict,
    and tensors to the Open Inference Protocol under /v2. End it with Ctrl-C.

    Every setting has a flag and an environment variable. The later of these wins: default,
    settings file, environment variable, flag.
    """

    def read_settings() -> Settings:
        return load_settings(file=settings_file, flags=flags)

    settings = read_settings()
    from enginecrate.graph.isolation import isolated
    from enginecrate.server import start

    announce = _announcer(settings, as_json=as_json)
    try:
        start.serve(
            project,
            settings,
            announce=announce,
            read_settings=read_settings,
            # It gets ready to check the model while the server is imported.
            before_import=isolated.start,
        )
    except EnginecrateError as exc:
        if settings.log_stream == "stdout":  # where standard error is not read
            start.log_end(exc)
        raise


def _announcer(settings: Settings, *, as_json: bool) -> Callable[[str], None] | None:
    """The function that tells the server's address; `None` where the log, in JSON, tells it."""
    if as_json:
        return lambda url: print_json({name: url + path for name, path in _ADDRESSES.items()})
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    return _announce if text else None


def _announce(url: str) -> None:
    note(f"dashboard  {url}{_ADDRESSES['dashboard']}")
    note(f"API docs   {url}{_ADDRESSES['docs']}")
    note(f"try it     curl -T photo.jpg -X POST {url}{_ADDRESSES['predict']}")
