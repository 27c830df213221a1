"""The report as one HTML page, which needs no network and no scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from enginecrate.build.evaluation import WorstPhoto
from enginecrate.build.golden import as_result
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

__all__ = ["Pictures", "render_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_WIDTH = 480
_MOST_LINES = 5
_WORST = 3


@dataclass(frozen=True, slots=True)
class _Card:
    """A golden sample on the page. `picture` is a data URI, or empty."""

    name: str
    passed: bool
    reasons: Sequence[str]
    picture: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the page shows pictures of.

    examined: golden samples. payloads: other photos by name. limits: on what is decoded.
    """

    examined: Sequence[Examined]
    payloads: Mapping[str, Callable[[], bytes]]
    limits: Limits


@dataclass(frozen=True, slots=True)
class _Pair:
    """A photo on which a target's plan and FP32 disagree: both pictures as data URIs."""

    target: str
    name: str
    score: float
    failure: str
    reference: str
    found: str
    reference_lines: Sequence[str]
    found_lines: Sequence[str]


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
    environment.filters.update(size=_size, number=_number, shape=_shape, share=_share)
    rows = [row for timed in report.run.timings for row in timed.timing.rows]
    return environment.get_template("report.html.jinja").render(
        report=report,
        result=report.result,
        run=report.run,
        cards=[_card(one, pictures.limits) for one in pictures.examined],
        pairs=list(_pairs(report, pictures)),
        batches=_batches(report),
        slowest=max((row.p95_ms for row in rows), default=0.0) or 1.0,
        operators=_operators(report),
    )


def _pairs(report: BuildReport, pictures: Pictures) -> Iterator[_Pair]:
    """Each graph's worst photos once, whatever number of targets it is for."""
    payloads = dict(pictures.payloads)
    golden = {f"golden/{one.sample.name}": one.sample.payload for one in pictures.examined}
    shown: set[str] = set()
    for target in report.result.targets:
        if target.evaluation is None or target.plan is None:
            continue
        if target.plan.graph_digest in shown:
            continue
        shown.add(target.plan.graph_digest)
        for worst in target.evaluation.worst[:_WORST]:
            read = payloads.get(worst.name)
            payload = golden.get(worst.name) or (read() if read else None)
            if payload is not None:
                name = f"{target.plan.precision} for {target.device}"
                yield _pair(name, worst, payload, pictures.limits)


def _pair(target: str, worst: WorstPhoto, payload: bytes, limits: Limits) -> _Pair:
    reference = as_result(worst.reference)
    found = as_result(worst.found) if worst.found is not None else None
    return _Pair(
        target=target,
        name=worst.name,
        score=worst.score,
        failure=worst.failure,
        reference=_thumbnail(payload, reference, limits),
        found=_thumbnail(payload, found, limits) if found else "",
        reference_lines=_lines(reference),
        found_lines=_lines(found) if found else [],
    )


def _batches(report: BuildReport) -> list[int]:
    """The batch sizes that any engine was timed at."""
    return sorted(
        {
            row.batch
            for timed in report.run.timings
            for row in timed.timing.rows
            if row.step == "engine"
        }
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
