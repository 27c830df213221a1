"""The report as one HTML page, which needs no network and no scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from enginecrate.build.proof import Examined
from enginecrate.build.report import BuildReport
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.annotate import annotate
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Limits,
    Result,
    TensorsResult,
)

__all__ = ["render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH = 480
_MOST_LINES = 5


@dataclass(frozen=True, slots=True)
class _Card:
    """A golden sample on the page. `picture` is a data URI, or empty."""

    name: str
    passed: bool
    reasons: Sequence[str]
    picture: str
    lines: Sequence[str]


def render_report(report: BuildReport, examined: Sequence[Examined], limits: Limits) -> str:
    """Render the page. Thumbnails are embedded, everything from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(size=_size, number=_number, shape=_shape, share=_share)
    rows = report.run.timing.rows
    return environment.get_template("report.html.jinja").render(
        report=report,
        result=report.result,
        run=report.run,
        cards=[_card(one, limits) for one in examined],
        slowest=max((row.p95_ms for row in rows), default=0.0) or 1.0,
        operators=_operators(report),
    )


def _card(one: Examined, limits: Limits) -> _Card:
    picture, lines = "", [""]
    if one.found is not None:
        picture, lines = _thumbnail(one.sample.payload, one.found, limits), _lines(one.found)
    return _Card(one.sample.name, one.outcome.passed, one.outcome.reasons, picture, lines)


def _thumbnail(payload: bytes, result: Result, limits: Limits) -> str:
    """A small JPEG with the boxes; empty when the payload is no picture that we can draw on."""
    try:
        drawn = annotate(payload, result, limits)
    except EnginecrateError:
        return ""
    with Image.open(io.BytesIO(drawn)) as picture:
        small = picture.convert("RGB")
    if small.width > _WIDTH:
        small = small.resize((_WIDTH, max(1, small.height * _WIDTH // small.width)))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _lines(result: Result) -> list[str]:
    if isinstance(result, DetectionResult):
        found = [f"{one.label} {one.score:.2f}" for one in result.detections]
    elif isinstance(result, ClassificationResult):
        found = [f"{one.label} {one.score:.3f}" for one in result.classes]
    elif isinstance(result, TensorsResult):
        found = [f"{one.name} {one.datatype} {_shape(one.shape)}" for one in result.outputs]
    more = len(found) - _MOST_LINES
    return (found[:_MOST_LINES] + ([f"and {more} more"] if more > 0 else [])) or ["nothing found"]


def _operators(report: BuildReport) -> list[tuple[str, int, int]]:
    """Operator, count before, count after; the commonest first."""
    before, after = report.result.graph.operators_before, report.result.graph.operators_after
    names = sorted({*before, *after}, key=lambda name: (-before.get(name, 0), name))
    return [(name, before.get(name, 0), after.get(name, 0)) for name in names]


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _number(value: float | None) -> str:
    if value is None:
        return "not a number"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join("any" if size < 0 else str(size) for size in shape) + "]"


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"
