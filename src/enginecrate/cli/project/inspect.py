"""`enginecrate inspect`: the contents of a model, and what backends refuse of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import Json, examples
from enginecrate.cli.shared.output import console, note, print_json

if TYPE_CHECKING:
    from enginecrate.graph.description import ModelDescription
    from enginecrate.graph.onnx.model import OnnxModel
    from enginecrate.manifest import Manifest

__all__ = ["EXAMPLES", "inspect"]

EXAMPLES = examples(
    "enginecrate inspect model.onnx",
    "enginecrate inspect ai-inspection",
    "enginecrate inspect model.onnx --batch 1 --batch 16",
    "enginecrate inspect model.onnx --json",
)

_BATCHES = (1, 8, 32)


def inspect(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="ONNX file, project folder or its enginecrate.toml (default: the current folder)",
            show_default=False,
        ),
    ] = Path(),
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Batch to count for; may be given again (default: the profiles', or 1, 8, 32)",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a model's inputs, outputs, operators, size and cost, and what backends refuse of it.

    Nothing of the model runs. What a backend will not take is a forecast from its documents:
    the build has the last word.
    """
    from enginecrate.graph.description import describe
    from enginecrate.graph.rewrite.simplify import simplify

    opened, batches, stacks = _open(model)
    description = describe(opened, simplify(opened), _usable(opened, tuple(batch or batches)))
    if as_json:
        print_json(description)
    else:
        _show(description, opened.source)
    _note_runtimes(opened, stacks)


def _note_runtimes(model: OnnxModel, stacks: Sequence[str]) -> None:
    """Name the stacks whose onnxruntime is too old for the model."""
    from enginecrate.graph.onnx.signatures import opset_of
    from enginecrate.stacks.catalog import load_stacks
    from enginecrate.stacks.model_limits import model_refusal

    known = load_stacks()
    for name in dict.fromkeys(stacks or known):
        if name in known:
            opset = opset_of(model.proto)
            if refusal := model_refusal(known[name], model.proto.ir_version, opset):
                note(f"Warning: {refusal}")


def _open(path: Path) -> tuple[OnnxModel, tuple[int, ...], Sequence[str]]:
    """The model, the batches of the project's profiles, and its stacks."""
    from enginecrate.graph.onnx.model import read_model
    from enginecrate.manifest import load_manifest

    if path.is_dir() or path.suffix == ".toml":
        file = load_manifest(path)
        model = read_model(file.root / file.manifest.model.path)
        return model, _profiled(file.manifest) or _BATCHES, file.manifest.targets.stacks
    return read_model(path), _BATCHES, ()


def _profiled(manifest: Manifest) -> tuple[int, ...]:
    batches = {
        shape[0]
        for profile in manifest.model.profiles
        for shapes in profile.values()
        for shape in shapes
        if shape
    }
    return tuple(sorted(batches))


def _usable(model: OnnxModel, batches: tuple[int, ...]) -> tuple[int, ...]:
    """These batches, or the only one that a model with a fixed first dimension takes."""
    if any(spec.shape and spec.shape[0] < 0 for spec in model.inputs):
        return tuple(dict.fromkeys(batches))
    fixed = next((spec.shape[0] for spec in model.inputs if spec.shape), 1)
    if any(batch != fixed for batch in batches) and batches != _BATCHES:
        note(f"the model's batch is fixed: {fixed}")
    return (fixed,)


def _show(description: ModelDescription, source: Path) -> None:
    from enginecrate.cli.project.inspect_tables import tables

    screen = console()
    for part in tables(description, source):
        screen.print(part)
