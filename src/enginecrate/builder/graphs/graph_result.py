"""A typed graph of a project, with all that its making has found out."""

from __future__ import annotations

from dataclasses import dataclass

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.labelled import LabelledAccuracy
from enginecrate.builder.quantization.recovery import Recovery
from enginecrate.builder.quantization.speed import Speed
from enginecrate.graph.typed import TypedGraph

__all__ = ["GraphResult"]


@dataclass(frozen=True, slots=True)
class GraphResult:
    """A graph that passed its gates, and what is known about it.

    calibration_digest: of the table that the scales came from; empty without one.
    evaluation: against the FP32 reference; `None` for fp32, and where nothing here executes it.
    recovery: the steps that were needed to pass the gate; `None` when nothing was quantised.
    labelled: against the truth, when the manifest names some.
    speed: against FP32, when this very build timed it.
    """

    typed: TypedGraph
    calibration_digest: str = ""
    evaluation: Evaluation | None = None
    recovery: Recovery | None = None
    labelled: LabelledAccuracy | None = None
    speed: Speed | None = None
