"""`enginecrate manifest`: check `enginecrate.toml`, or print its JSON Schema."""

from __future__ import annotations

from pathlib import Path

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, Project, examples
from enginecrate.cli.shared.output import note, print_json

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
    """List every fault of the manifest and of what it names, each with its line and cure.

    Read are the model, its labels, golden samples, the pipeline class of one's own, and the
    folders of photos. Warnings tell what is odd, and do not fail.
    """
    from enginecrate.builder.check.manifest import check_manifest
    from enginecrate.image.resolve.bases import load_base
    from enginecrate.manifest import faulty_manifest

    outcome = check_manifest(project, load_base)
    draft = outcome.draft
    error = faulty_manifest(draft.path, outcome.faults)
    valid = draft.manifest is not None and not outcome.faults
    if as_json:
        answer = {
            "valid": valid,
            "path": str(draft.path),
            "app": draft.manifest.app if draft.manifest else None,
            "digest": str(draft.digest),
            "faults": outcome.faults,
            "warnings": outcome.warnings,
        }
        if not valid:
            facts = {"code": error.code, "kind": error.kind, "message": str(error)}
            answer["error"] = facts
        print_json(answer)
        raise typer.Exit(SUCCESS if valid else EXIT_CODES[error.kind])
    for warning in outcome.warnings:
        note(f"warning: {warning}")
    if draft.manifest is None or not valid:
        raise error
    app = draft.manifest.app
    typer.echo(f"{draft.path} is valid: {app.name} {app.version}")


def schema(as_json: Json = True) -> None:
    """Print the manifest's JSON Schema (draft 2020-12), for editors."""
    del as_json  # a schema is JSON anyhow; scripts may give --json to every verb
    from enginecrate.manifest import json_schema

    print_json(json_schema())
