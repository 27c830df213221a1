"""`enginecrate init`: write a new project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enginecrate.cli.shared.options import Json, examples
from enginecrate.cli.shared.output import print_json
from enginecrate.errors import UsageError

if TYPE_CHECKING:
    from enginecrate.builder.scaffold.scaffold import Scaffold

__all__ = ["EXAMPLES", "init"]

EXAMPLES = examples(
    "enginecrate init ai-inspection",
    "enginecrate init pictures --sample classification",
    "enginecrate init my-app --model best.onnx --labels classes.txt",
    "enginecrate init my-app --model best.onnx --task tensors",
    "enginecrate init my-app --template custom",
    "enginecrate init my-app --template custom --model best.onnx",
)


def init(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The new folder; it must not exist")],
    sample: Annotated[
        Literal["detection", "classification"] | None,
        typer.Option(
            "--sample",
            help="Copy this sample project (default: detection)",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE", help="Make a project around this ONNX model"),
    ] = None,
    task: Annotated[
        Literal["classification", "detection", "image", "tensors"] | None,
        typer.Option(
            "--task", help="With --model: what it does (default: guessed from its shapes)"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="With --model: its class names"),
    ] = None,
    template: Annotated[
        Literal["custom"] | None,
        typer.Option(
            "--template",
            help="Copy this template; custom: a pipeline class of your own, around the sample's "
            "model or the one of --model",
        ),
    ] = None,
    app_name: Annotated[
        str | None,
        typer.Option(
            "--app-name",
            metavar="NAME",
            help="Name of the app and of its model on the server (default: from the folder's)",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a new project that builds at once. Nothing is ever overwritten."""
    from enginecrate.builder.scaffold import scaffold

    _check_choice(sample, model, template, task, labels)
    given = scaffold.app_name_from(app_name or name.absolute().name)
    if model is not None:
        from enginecrate.builder.scaffold.from_model import create_from_model

        project = create_from_model(
            name, given, model, task=task, labels=labels, custom=template == "custom"
        )
    else:
        project = scaffold.create_from_sample(name, given, template or sample or "detection")
    if as_json:
        print_json(_as_dict(project))
    else:
        _explain(project, name)


def _check_choice(
    sample: str | None,
    model: Path | None,
    template: str | None,
    task: str | None,
    labels: Path | None,
) -> None:
    chosen = {"--sample": sample, "--model": model, "--template": template}
    given = [flag for flag, value in chosen.items() if value is not None]
    if len(given) > 1 and given != ["--model", "--template"]:
        raise UsageError(f"{' and '.join(given)} exclude each other; give only one")
    for flag, value in (("--task", task), ("--labels", labels)):
        if value is not None and model is None:
            raise UsageError(f"{flag} describes a model of your own; give it with --model FILE")


def _as_dict(project: Scaffold) -> dict[str, object]:
    return {
        "project": str(project.root),
        "app": project.app_name,
        "task": project.spec.task,
        "proven": project.proven,
        "reasons": list(project.reasons),
    }


def _explain(project: Scaffold, folder: Path) -> None:
    from enginecrate.manifest.golden_samples import record_command

    typer.echo(f"New project {project.app_name} ({project.spec.task}) in {folder}")
    if project.reasons:
        typer.echo("\nWhat was guessed from the model; correct it in enginecrate.toml:")
        for reason in project.reasons:
            typer.echo(f"  - {reason}")
    steps = [f"cd {shlex.quote(str(folder))}", "enginecrate build"]
    if not project.proven:
        typer.echo(
            "\nThe app is unproven: it has no golden samples, so nothing tells whether its answers"
            "\nare right. Record some whose answer you know, and check what was recorded."
        )
        steps.append(record_command(project.spec.task))
    typer.echo("\nNext:")
    for step in [*steps, "enginecrate serve"]:
        typer.echo(f"  {step}")
