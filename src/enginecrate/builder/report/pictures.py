"""The pictures of the report: golden samples, and photos on which a plan and FP32 disagree."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from enginecrate.builder.accuracy.evaluation import WorstPhoto
from enginecrate.builder.golden.samples import as_result
from enginecrate.builder.proof.golden_proof import Examined
from enginecrate.builder.report.tables import GraphRow
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.annotate import annotate
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Limits,
    Result,
    TensorsResult,
)

__all__ = ["Card", "Pair", "Pictures", "make_cards", "make_pairs"]

_WIDTH = 480
_MOST_LINES = 5
_MOST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Pictures:
    """The photos and results that pictures are made of.

    examined: golden samples with the app's own results.
    golden, photos: what a client would send, by name.
    limits: on what is decoded.
    """

    examined: Sequence[Examined]
    golden: Mapping[str, bytes]
    photos: Mapping[str, Callable[[], bytes]]
    limits: Limits

    def payload(self, name: str) -> bytes | None:
        """A photo by its name in evaluations; `None` when it is unknown or gone by now."""
        if name.startswith("golden/"):
            return self.golden.get(name.removeprefix("golden/"))
        try:
            return self.photos[name]() if name in self.photos else None
        except EnginecrateError:
            return None


@dataclass(frozen=True, slots=True)
class Card:
    """A golden sample on the page. `picture` is a data URI, or empty."""

    name: str
    passed: bool
    reasons: Sequence[str]
    picture: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Side:
    """The result of one of both for a photo."""

    title: str
    picture: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo on which a graph and FP32 disagree. score: 0..1, how alike they are."""

    name: str
    graph: str
    score: float
    sides: tuple[Side, Side]


def make_cards(pictures: Pictures) -> list[Card]:
    """One for each golden sample."""
    return [_card(one, pictures.limits) for one in pictures.examined]


def make_pairs(graphs: Sequence[GraphRow], pictures: Pictures) -> Iterator[Pair]:
    """The worst photos of each graph, those of graphs that failed first."""
    judged = [(one, one.target.evaluation) for one in graphs if one.target.evaluation]
    for graph, evaluation in sorted(judged, key=lambda pair: pair[1].passed):
        for worst in evaluation.worst[:_MOST_PAIRS]:
            payload = pictures.payload(worst.name)
            if payload is not None:
                yield _pair(graph.title, worst, payload, pictures.limits)


def _pair(graph: str, worst: WorstPhoto, payload: bytes, limits: Limits) -> Pair:
    reference = as_result(worst.reference)
    before = Side("fp32", _thumbnail(payload, reference, limits), _lines(reference))
    if worst.found is None:
        after = Side(graph, "", [worst.failure or "no result"])
    else:
        result = as_result(worst.found)
        after = Side(graph, _thumbnail(payload, result, limits), _lines(result))
    return Pair(worst.name, graph, worst.score, (before, after))


def _card(examined: Examined, limits: Limits) -> Card:
    picture, lines = "", [""]
    if examined.found is not None:
        picture, lines = (
            _thumbnail(examined.sample.payload, examined.found, limits),
            _lines(examined.found),
        )
    return Card(
        examined.sample.name, examined.outcome.passed, examined.outcome.reasons, picture, lines
    )


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
        lines = [f"{one.label} {one.score:.2f}" for one in result.detections]
    elif isinstance(result, ClassificationResult):
        lines = [f"{one.label} {one.score:.3f}" for one in result.classes]
    elif isinstance(result, TensorsResult):
        lines = [f"{one.name} {one.datatype} {list(one.shape)}" for one in result.outputs]
    more = len(lines) - _MOST_LINES
    return (lines[:_MOST_LINES] + ([f"and {more} more"] if more > 0 else [])) or ["nothing found"]
