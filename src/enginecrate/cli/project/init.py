"""`enginecrate init`: write a new project."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enginecrate.cli.shared.options import Json, examples, read_input
from enginecrate.cli.shared.output import print_json
from enginecrate.errors import ProjectExists, UsageError

if TYPE_CHECKING:
    from enginecrate.builder.scaffold.scaffold import Scaffold
    from enginecrate.builder.trial.findings import TrialFacts

__all__ = ["EXAMPLES", "init"]

EXAMPLES = examples(
    "enginecrate init ai-inspection",
    "enginecrate init pictures --sample classification",
    "enginecrate init my-app --model best.onnx --labels classes.txt",
    "enginecrate init my-app --model best.onnx --task tensors",
    "enginecrate init my-app --model best.onnx --size 224x224 --activation none",
    "enginecrate init my-app --template custom",
    "enginecrate init my-app --template custom --model best.onnx",
)


def init(
    name: Annotated[
        Path,
        typer.Argument(
            metavar="NAME",
            help="The new folder; of a project that is there the changes are shown",
        ),
    ],
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
            "--task",
            help="With --model: what it does (default: guessed from its graph, its metadata and "
            "two runs); image: a photo in, the model's own tensors out",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="HEIGHTxWIDTH",
            help="With --model: the size of its input in pixels, where the model leaves it open",
        ),
    ] = None,
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"] | None,
        typer.Option("--activation", help="With --model: what turns its output into scores"),
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            "--decoder", metavar="NAME", help="With --model: the decoder that reads its boxes"
        ),
    ] = None,
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        typer.Option("--layout", help="With --model: the order of its input's dimensions"),
    ] = None,
    color: Annotated[
        Literal["rgb", "bgr"] | None,
        typer.Option("--color", help="With --model: the order of its input's channels"),
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option(
            "--constant",
            metavar="INPUT=VALUE",
            help="With --model: the value of an input that takes no photo, as JSON; repeatable",
        ),
    ] = None,
    untried: Annotated[
        bool,
        typer.Option(
            "--untried",
            help="With --model: write the project although the app does not run here, or fails",
        ),
    ] = False,
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
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace the manifest of a project that is there; other files stay"
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a new project that builds at once. Nothing is overwritten without --force."""
    from enginecrate.builder.scaffold import scaffold

    of_model = {
        "--task": task, "--size": size, "--activation": activation, "--decoder": decoder,
        "--layout": layout, "--color": color, "--constant": constant, "--labels": labels,
        "--untried": untried or None,
    }  # fmt: skip
    _check_choice(sample, model, template, of_model)
    if labels is not None:
        read_input(labels)
    given = scaffold.app_name_from(app_name or name.absolute().name)
    try:
        if model is not None:
            from enginecrate.builder.scaffold.from_model import create_from_model
            from enginecrate.builder.scaffold.guess.guesses import Answers
            from enginecrate.cli.project.questions import ask, parse_constants, parse_size

            answers = Answers(
                task=task,
                size=parse_size(size) if size is not None else None,
                activation=activation,
                decoder=decoder,
                layout=layout,
                color=color,
                constants=parse_constants(constant or []),
            )
            project = create_from_model(
                name, given, model, answers=answers, labels=labels, custom=template == "custom",
                untried=untried, force=force,
                ask=ask if sys.stdin.isatty() and not as_json else None,
            )  # fmt: skip
        else:
            chosen = template or sample or "detection"
            project = scaffold.create_from_sample(name, given, chosen, force=force)
    except ProjectExists as exc:
        if exc.changes and not as_json:
            typer.echo(exc.changes)
        raise
    if as_json:
        print_json(_as_dict(project))
    else:
        _explain(project, name)


def _check_choice(
    sample: str | None, model: Path | None, template: str | None, of_model: Mapping[str, object]
) -> None:
    chosen = {"--sample": sample, "--model": model, "--template": template}
    given = [flag for flag, value in chosen.items() if value is not None]
    if len(given) > 1 and given != ["--model", "--template"]:
        raise UsageError(f"{' and '.join(given)} exclude each other; give only one")
    for flag, value in of_model.items():
        if value is not None and value != [] and model is None:
            raise UsageError(f"{flag} describes a model of your own; give it with --model FILE")


def _as_dict(project: Scaffold) -> dict[str, object]:
    from enginecrate.builder.scaffold.manifest_text import toml_value

    told: dict[str, object] = {
        "project": str(project.root),
        "app": project.app_name,
        "task": project.spec.task,
        "proven": project.proven,
        "reasons": [
            f"{guess.key} = {toml_value(guess.value)} ({guess.certainty}): {guess.reason}"
            for guess in project.guesses
        ],
    }
    if not project.guesses:
        return told
    return told | {
        "guesses": [guess.shown for guess in project.guesses],
        "ran": list(project.trial.samples) if project.trial else [],
        "findings": [str(finding) for finding in project.trial.findings] if project.trial else [],
    }


def _explain(project: Scaffold, folder: Path) -> None:
    from enginecrate.manifest.golden_samples import record_command

    typer.echo(f"New project {project.app_name} ({project.spec.task}) in {folder}")
    if project.guesses:
        from enginecrate.builder.scaffold.manifest_text import toml_value

        typer.echo("\nWhat was guessed from the model; correct it in enginecrate.toml:")
        for guess in project.guesses:
            value = toml_value(guess.value)
            typer.echo(f"  - {guess.key} = {value} ({guess.certainty}): {guess.reason}")
    if project.trial is not None:
        _explain_trial(project.trial)
    for remark in project.remarks:
        typer.echo(f"\n{remark}")
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


def _explain_trial(trial: TrialFacts) -> None:
    if trial.samples:
        typer.echo(f"\nIt ran here: {', '.join(trial.samples)}")
    for finding in trial.findings:
        typer.echo(f"  - {finding}")
