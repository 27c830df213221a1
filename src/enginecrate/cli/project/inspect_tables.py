"""The tables of `enginecrate inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from enginecrate.graph.describe.inspection import DynamicDimension
from enginecrate.graph.description import ModelDescription
from enginecrate.graph.support.support import Obstacle
from enginecrate.graph.typed import share_of
from enginecrate.values import Precision

__all__ = ["tables"]

_MOST_NAMES = 4
_MOST_CLASSES = 12
_STYLES = {"refused": "bold red", "caution": "yellow"}


def tables(description: ModelDescription, source: Path) -> Iterator[RenderableType]:
    """The output for people, part by part."""
    yield Text(str(source), style="bold")
    yield _facts(description)
    yield _head("Cost by batch")
    yield _costs(description)
    yield from _obstacles(description.obstacles)


def _facts(description: ModelDescription) -> Table:
    facts = description.facts
    rows = {
        "made by": facts.producer or "unknown",
        "opset": ", ".join(f"{name} {version}" for name, version in facts.opsets.items()),
        "inputs": "\n".join(str(spec) for spec in facts.inputs),
        "outputs": "\n".join(str(spec) for spec in facts.outputs),
        "dynamic": _dynamic(facts.dynamic),
        "parameters": f"{facts.parameters:,} ({_size(description.weight_bytes)}; "
        + ", ".join(f"{kind} {count:,}" for kind, count in description.weights.items())
        + ")",
        "file": f"{facts.bytes:,} bytes" + (", weights beside it" * description.external_data),
        "nodes": f"{facts.nodes}, after simplification {sum(description.simplified.values())}",
        "operators": _operators(description.simplified),
        "precision": _precision(description),
    }
    if facts.class_names:
        names = _names(facts.class_names, _MOST_CLASSES)
        rows["class names"] = f"{len(facts.class_names)} in {facts.class_names_key!r}: {names}"
    if description.simplifier_note:
        rows["note"] = description.simplifier_note
    table = _table(show_header=False)
    for name, text in rows.items():
        table.add_row(name, escape(text))
    return table


def _dynamic(dimensions: Sequence[DynamicDimension]) -> str:
    axes: dict[str, list[str]] = {}
    for dimension in dimensions:
        axis = f"axis {dimension.axis} {dimension.symbol}".rstrip()
        axes.setdefault(axis, []).append(dimension.tensor)
    return "\n".join(f"{axis}: {', '.join(names)}" for axis, names in axes.items()) or "nothing"


def _operators(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _precision(description: ModelDescription) -> str:
    if not description.layers:
        return "nothing multiplies"
    layers = description.layers
    present = [kind for kind in Precision if any(layer.precision is kind for layer in layers)]
    text = ", ".join(f"{kind} {share_of(kind, layers):.1%}" for kind in present)
    whole = description.precision
    text = f"{whole} (multiply-adds: {text})" if len(present) > 1 else whole
    quantize, dequantize = description.quantize_nodes, description.dequantize_nodes
    if quantize or dequantize:
        text += f"; {quantize} QuantizeLinear, {dequantize} DequantizeLinear"
    return text


def _costs(description: ModelDescription) -> Table:
    table = _table()
    for column in ("batch", "multiply-adds", "FLOPs", "bytes moved", "largest tensor"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in description.costs:
        table.add_row(
            str(cost.batch),
            _count(cost.macs),
            _count(cost.flops),
            _size(cost.bytes),
            _size(cost.largest),
        )
    unknown = sorted({name for cost in description.costs for name in cost.unknown})
    if unknown:
        table.caption = f"not counted (shape unknown, or a subgraph): {escape(_names(unknown))}"
    return table


def _obstacles(obstacles: Sequence[Obstacle]) -> Iterator[RenderableType]:
    if not obstacles:
        yield _head("No backend refuses anything that is known to the rules")
        return
    yield _head("What backends will not take, or warn of")
    table = _table()
    for column in ("backend", "", "where", "why, and what to do"):
        table.add_column(column, no_wrap=column in ("backend", ""), overflow="fold")
    for same, group in groupby(sorted(obstacles, key=_matter), key=_matter):
        mild, operator, nodes, why, cure = same
        level = "caution" if mild else "refused"
        backends = "\n".join(obstacle.backend for obstacle in group)
        where = ": ".join(filter(None, (operator, _names(nodes)))) or "model"
        table.add_row(
            backends,
            f"[{_STYLES[level]}]{level}[/]",
            escape(where),
            f"{escape(why)}\n[dim]-> {escape(cure)}[/]",
        )
    yield table


def _matter(obstacle: Obstacle) -> tuple[bool, str, tuple[str, ...], str, str]:
    """All but the backend; refusals come first."""
    mild = obstacle.level != "refused"
    return mild, obstacle.operator, obstacle.nodes, obstacle.why, obstacle.cure


def _names(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _head(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _table(*, show_header: bool = True) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, caption_justify="left")


def _count(number: int) -> str:
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} B"
