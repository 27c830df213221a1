"""The report as one HTML page, which needs no network and no scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from enginecrate.builder.report.pictures import Pictures, make_cards, make_pairs
from enginecrate.builder.report.report import BuildReport
from enginecrate.builder.report.tables import (
    batches_of,
    graph_rows,
    latencies,
    make_grid,
    operator_rows,
    quantised_rows,
)
from enginecrate.manifest.golden_samples import record_command

__all__ = ["Pictures", "render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_BYTES = re.compile(r"\b(\d+) bytes\b")


def render_report(report: BuildReport, pictures: Pictures) -> str:
    """Render the page. Thumbnails are embedded, everything from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        size=_size, number=_number, shape=_shape, share=_share, sizes=_sizes, percent=_percent
    )
    rows = [row for timed in report.run.timings for row in timed.timing.rows]
    graphs = graph_rows(report)
    return environment.get_template("report.html.jinja").render(
        report=report,
        result=report.result,
        run=report.run,
        grid=make_grid(report.result),
        graphs=graphs,
        quantised=quantised_rows(graphs),
        cards=make_cards(pictures),
        pairs=list(make_pairs(graphs, pictures)),
        batches=batches_of(report),
        latencies=latencies(report),
        slowest=max((row.p95_ms for row in rows), default=0.0) or 1.0,
        operators=operator_rows(report),
        record=record_command(report.result.app.task),
    )


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _sizes(words: str) -> str:
    """Figures in bytes, in a sentence, as people read them."""
    return _BYTES.sub(lambda found: _size(int(found[1])), words)


def _number(value: float | None) -> str:
    if value is None:
        return "not a number"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join("any" if size < 0 else str(size) for size in shape) + "]"


def _share(value: float) -> str:
    return f"{value * 100:.1f}\N{NO-BREAK SPACE}%"


def _percent(value: float) -> str:
    """A share as a length of SVG."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}%"
