"""`enginecrate stacks`: the catalog of stacks and of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginecrate.cli.shared.options import Json, examples
from enginecrate.cli.shared.output import console, print_json
from enginecrate.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from enginecrate.stacks.catalog import Stack
    from enginecrate.stacks.stack_rules import Compatibility
    from enginecrate.values import ComputeCapability

__all__ = ["EXAMPLES", "stacks"]

EXAMPLES = examples(
    "enginecrate stacks",
    "enginecrate stacks --gpu L4 --driver 550.54.14",
    "enginecrate stacks trtrtx17-cuda130",
    "enginecrate stacks --gpus",
)


def stacks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Show everything about this stack", show_default=False
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="GPU", help="A GPU by name (L4), or a capability (8.9)"),
    ] = None,
    driver: Annotated[
        str | None, typer.Option("--driver", metavar="VERSION", help="An NVIDIA driver's version")
    ] = None,
    gpus: Annotated[bool, typer.Option("--gpus", help="List GPUs in place of stacks")] = False,
    as_json: Json = False,
) -> None:
    """List the stacks: versions, drivers and GPUs; with --gpu or --driver say which can run there.

    A stack is a tested set of versions of CUDA, cuDNN, TensorRT or onnxruntime, and Python.
    """
    from enginecrate.stacks.catalog import get_stack, load_stacks
    from enginecrate.stacks.gpus import capability_of
    from enginecrate.stacks.stack_rules import check_stack

    capability = None if gpu is None else capability_of(gpu)
    _check_driver(driver)
    if gpus:
        _gpus(capability, as_json=as_json)
        return
    chosen = load_stacks() if name is None else {name: get_stack(name)}
    answers = {key: check_stack(stack, capability, driver) for key, stack in chosen.items()}
    asked = gpu is not None or driver is not None
    if as_json:
        rows = [_row(stack, answers[key] if asked else None) for key, stack in chosen.items()]
        print_json({"stacks": rows} if name is None else rows[0])
    elif name is None:
        _table(chosen, answers)
    else:
        _details(chosen[name], answers[name] if asked else None)


def _check_driver(driver: str | None) -> None:
    from enginecrate.stacks.versions import numbers

    try:
        numbers(driver or "0")
    except ValueError:
        raise UsageError(
            f"--driver {driver}: not a version; give it as nvidia-smi prints it, such as 550.54.14"
        ) from None


def _row(stack: Stack, answer: Compatibility | None) -> dict[str, Any]:
    import msgspec

    row = msgspec.to_builtins(stack) | {"digest": str(stack.digest)}
    if answer is not None:
        row["compatibility"] = answer
    return dict(row)


def _table(chosen: Mapping[str, Stack], answers: Mapping[str, Compatibility]) -> None:
    from rich.markup import escape

    table = _grid("stack", "CUDA", "engine", "driver", "compute capabilities", "plans are built")
    for key, stack in chosen.items():
        if answers[key].ok:
            table.add_row(
                key,
                stack.versions.get("cuda", ""),
                _engine(stack),
                f">= {stack.minimum_driver}" if stack.minimum_driver else "",
                _capabilities(stack),
                "anywhere" if stack.build_anywhere else "on its GPU",
            )
    screen = console()
    screen.print(table)
    if any(stack.unconfirmed for key, stack in chosen.items() if answers[key].ok):
        screen.print("[dim]* not confirmed yet: see enginecrate stacks NAME[/]")
    for key, answer in answers.items():
        for reason in answer.reasons:
            screen.print(f"[yellow]left out[/] {key}: {escape(reason.message)}", soft_wrap=True)
        for words in answer.notes:
            screen.print(f"[dim]{key}: {escape(words)}[/]", soft_wrap=True)


def _engine(stack: Stack) -> str:
    backend = stack.rungs[0].backend
    names = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX", "onnxruntime": "onnxruntime"}
    return f"{names[backend]} {stack.versions.get(backend, '')}"


def _capabilities(stack: Stack) -> str:
    return " ".join(
        f"{capability}{'*' if capability in stack.unconfirmed else ''}"
        for capability in stack.compute_capabilities
    )


def _details(stack: Stack, answer: Compatibility | None) -> None:
    from rich.markup import escape

    screen = console()
    table = _grid(headers=False)
    rungs = (f"{r.backend} on {r.device}: {', '.join(r.precisions)}" for r in stack.rungs)
    rows = {
        "stack": stack.name,
        "title": stack.title,
        "platforms": ", ".join(stack.platforms),
        "versions": "\n".join(f"{name} {text}" for name, text in stack.versions.items()),
        "packages": "\n".join(f"{each.name}=={each.version}" for each in stack.packages),
        "driver": f">= {stack.minimum_driver}" if stack.minimum_driver else "",
        "GPUs": _capabilities(stack),
        "engines": "\n".join(rungs),
        "plans": "built anywhere" if stack.build_anywhere else "built on its GPU",
        "installation": "pip" if stack.installable else "not from the Python package index alone",
        "note": stack.note,
        "not verified": "\n".join(f"- {fact}" for fact in stack.unverified),
        "sources": "\n".join(f"- {each.fact}\n  {each.url}" for each in stack.sources),
        "digest": str(stack.digest),
    }
    if answer is not None:
        reasons = [f"no: {reason}" for reason in answer.reasons]
        rows["runs there"] = "\n".join(reasons or ["yes", *answer.notes])
    for label, text in rows.items():
        if text:
            table.add_row(f"[bold]{label}[/]", escape(text))
    screen.print(table)


def _gpus(capability: ComputeCapability | None, *, as_json: bool) -> None:
    """The table of GPUs, with the stacks whose best engine runs on each."""
    from enginecrate.stacks.catalog import load_stacks
    from enginecrate.stacks.gpus import load_gpus

    chosen = [
        (gpu, [s.name for s in load_stacks().values() if _runs(s, gpu.compute_capability)])
        for gpu in load_gpus().values()
        if capability in (None, gpu.compute_capability)
    ]
    if as_json:
        import msgspec

        rows = [msgspec.to_builtins(gpu) | {"stacks": names} for gpu, names in chosen]
        print_json({"gpus": rows})
        return
    table = _grid("GPU", "capability", "architecture", "memory, GiB", "stacks")
    for gpu, names in chosen:
        sizes = ", ".join(map(str, gpu.memory_gib))
        table.add_row(
            gpu.name, str(gpu.compute_capability), gpu.architecture, sizes, " ".join(names)
        )
    console().print(table)


def _runs(stack: Stack, capability: ComputeCapability) -> bool:
    return capability in stack.compute_capabilities


def _grid(*columns: str, headers: bool = True) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=headers, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table
