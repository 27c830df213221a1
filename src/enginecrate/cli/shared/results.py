"""Results as a table for people, and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from enginecrate.cli.shared.output import console
from enginecrate.pipelines.base import ClassificationResult, DetectionResult, Result, TensorResult

__all__ = ["result_as_dict", "show_results"]

_SHOWN_NUMBERS = 4


def result_as_dict(name: str, result: Result) -> dict[str, Any]:
    """The result of the input `name`, in the shape that the server answers."""
    return {"input": name, **msgspec.to_builtins(result)}


def show_results(results: Sequence[tuple[str, Result]]) -> None:
    """Print one row for each detection, class or tensor."""
    table = Table(box=None, pad_edge=False)
    for column in ("input", "result", "score", "where"):
        table.add_column(column, overflow="fold", justify="right" if column == "score" else "left")
    for name, result in results:
        for row in list(_rows(result)) or [("nothing found", "", "")]:
            table.add_row(escape(name), *(escape(cell) for cell in row))
    console().print(table)


def _rows(result: Result) -> Iterator[tuple[str, str, str]]:
    if isinstance(result, DetectionResult):
        for detection in result.detections:
            box = ", ".join(f"{edge:.0f}" for edge in detection.box)
            yield detection.label, f"{detection.score:.2f}", f"box {box}"
    elif isinstance(result, ClassificationResult):
        for choice in result.classes:
            yield choice.label, f"{choice.score:.2f}", ""
    else:
        for tensor in result.outputs:
            yield tensor.name, "", _outline(tensor)


def _outline(tensor: TensorResult) -> str:
    """`FP32 [1,3]: 0.25, 0.5, 0.25`, with the first numbers only."""
    shape = ",".join(map(str, tensor.shape))
    first = [
        f"{item:.4g}" if isinstance(item, float) else str(item)
        for item in tensor.data[:_SHOWN_NUMBERS]
    ]
    more = ["..."] if len(tensor.data) > _SHOWN_NUMBERS else []
    return f"{tensor.datatype} [{shape}]: {', '.join(first + more)}"
