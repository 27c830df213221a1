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
_STYLES = {"refused": "bold red", "caution": "yellow"}


def tables(found: ModelDescription, source: Path) -> Iterator[RenderableType]:
    """What people see, part by part."""
    yield Text(str(source), style="bold")
    yield _facts(found)
    yield _head("Cost by batch")
    yield _costs(found)
    yield from _obstacles(found.obstacles)


def _facts(found: ModelDescription) -> Table:
    facts = found.facts
    rows = {
        "made by": facts.producer or "unknown",
        "opset": ", ".join(f"{name} {version}" for name, version in facts.opsets.items()),
        "inputs": "\n".join(str(spec) for spec in facts.inputs),
        "outputs": "\n".join(str(spec) for spec in facts.outputs),
        "dynamic": _dynamic(facts.dynamic),
        "parameters": f"{facts.parameters:,} ({_size(found.weight_bytes)}; "
        + ", ".join(f"{kind} {count:,}" for kind, count in found.weights.items())
        + ")",
        "file": f"{facts.bytes:,} bytes" + (", weights beside it" * found.external_data),
        "nodes": f"{facts.nodes}, after simplification {sum(found.simplified.values())}",
        "operators": _operators(found.simplified),
        "precision": _precision(found),
    }
    if found.simplifier_note:
        rows["note"] = found.simplifier_note
    table = _table(show_header=False)
    for name, text in rows.items():
        table.add_row(name, escape(text))
    return table


def _dynamic(dimensions: Sequence[DynamicDimension]) -> str:
    axes: dict[str, list[str]] = {}
    for one in dimensions:
        axes.setdefault(f"axis {one.axis} {one.symbol}".rstrip(), []).append(one.tensor)
    return "\n".join(f"{axis}: {', '.join(names)}" for axis, names in axes.items()) or "nothing"


def _operators(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _precision(found: ModelDescription) -> str:
    if not found.layers:
        return "nothing multiplies"
    present = [one for one in Precision if any(layer.precision is one for layer in found.layers)]
    text = ", ".join(f"{one} {share_of(one, found.layers):.1%}" for one in present)
    text = f"{found.precision} (multiply-adds: {text})" if len(present) > 1 else found.precision
    if found.quantize_nodes or found.dequantize_nodes:
        text += (
            f"; {found.quantize_nodes} QuantizeLinear, {found.dequantize_nodes} DequantizeLinear"
        )
    return text


def _costs(found: ModelDescription) -> Table:
    table = _table()
    for column in ("batch", "multiply-adds", "FLOPs", "bytes moved", "largest tensor"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in found.costs:
        table.add_row(
            str(cost.batch),
            _count(cost.macs),
            _count(cost.flops),
            _size(cost.bytes),
            _size(cost.largest),
        )
    unknown = sorted({name for cost in found.costs for name in cost.unknown})
    if unknown:
        table.caption = f"not counted (shape unknown, or a subgraph): {escape(_names(unknown))}"
    return table


def _obstacles(found: Sequence[Obstacle]) -> Iterator[RenderableType]:
    if not found:
        yield _head("No backend refuses anything that is known to the rules")
        return
    yield _head("What backends will not take, or warn of")
    table = _table()
    for column in ("backend", "", "where", "why, and what to do"):
        table.add_column(column, no_wrap=column in ("backend", ""), overflow="fold")
    for same, group in groupby(sorted(found, key=_matter), key=_matter):
        mild, operator, nodes, why, cure = same
        level = "caution" if mild else "refused"
        backends = "\n".join(one.backend for one in group)
        where = ": ".join(filter(None, (operator, _names(nodes)))) or "model"
        table.add_row(
            backends,
            f"[{_STYLES[level]}]{level}[/]",
            escape(where),
            f"{escape(why)}\n[dim]-> {escape(cure)}[/]",
        )
    yield table


def _matter(one: Obstacle) -> tuple[bool, str, tuple[str, ...], str, str]:
    """All but the backend; what is refused comes first."""
    return one.level != "refused", one.operator, one.nodes, one.why, one.cure


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


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
