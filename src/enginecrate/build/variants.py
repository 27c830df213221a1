"""From a project to the typed graph of one precision: simplified, cast or quantised, gated."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from enginecrate.build.project import Project
from enginecrate.errors import PrecisionUnsupported
from enginecrate.graph.simplify import simplify
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["Variant", "obtain_variant"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Variant:
    """A typed graph of a project.

    asked: the precision that was asked for; the graph's own may be `mixed`.
    calibration_digest: of the table that the scales came from; empty without one.
    """

    graph: TypedGraph
    asked: Precision
    scheme: Scheme
    calibration_digest: str = ""


def obtain_variant(
    project: Project,
    precision: Precision,
    scheme: Scheme,
    settings: Settings,
    progress: Progress = no_progress,
) -> Variant:
    """The typed graph, out of the cache or made and put there.

    Raises:
        PrecisionUnsupported: this version cannot make it.
    """
    if precision is not Precision.FP32:
        raise PrecisionUnsupported(f"{precision} cannot be made yet")
    progress("simplify the graph", 0, 1)
    simplified = simplify(project.model)
    if simplified.note:
        _log.warning("%s: %s", project.model.source, simplified.note)
    progress("simplify the graph", 1, 1)
    return Variant(TypedGraph(simplified.model, Precision.FP32, ()), precision, scheme)
