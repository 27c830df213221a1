"""`enginecrate manifest`: check `enginecrate.toml`, or print its JSON Schema."""

from __future__ import annotations

from pathlib import Path

import typer

from enginecrate.cli.shared.options import Json, Project, examples
from enginecrate.cli.shared.output import print_json

__all__ = ["create_app"]


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Check enginecrate.toml, or print its JSON Schema.")
    app.command(
        "check",
        epilog=examples(
            "enginecrate manifest check", "enginecrate manifest check --project ai-inspection"
        ),
    )(check)
    app.command("schema", epilog=examples("enginecrate manifest schema > enginecrate.schema.json"))(
        schema
    )
    return app


def check(project: Project = Path(), as_json: Json = False) -> None:
    """List every fault of the manifest and every file that is missing."""
    from enginecrate.manifest import check_files, load_manifest

    file = load_manifest(project)
    check_files(file)
    app = file.manifest.app
    if as_json:
        digest = str(file.digest)
        print_json({"valid": True, "path": str(file.path), "app": app, "digest": digest})
    else:
        typer.echo(f"{file.path} is valid: {app.name} {app.version}")


def schema(as_json: Json = True) -> None:
    """Print the manifest's JSON Schema (draft 2020-12), for editors."""
    del as_json  # a schema is JSON anyhow; scripts may give --json to every verb
    from enginecrate.manifest import json_schema

    print_json(json_schema())
