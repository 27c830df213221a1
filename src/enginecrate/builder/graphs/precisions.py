"""A typed graph is made and examined: a cast to FP16 or BF16, or a quantisation to INT8 or FP8."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.accuracy.evaluation import check_gate
from enginecrate.builder.accuracy.labelled import check_labelled_gate
from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.project.photos import augment
from enginecrate.builder.quantization.calibration import (
    FEW_PHOTOS,
    CalibrationTable,
    calibrate,
)
from enginecrate.builder.quantization.recovery import Subject, quantize_accurately
from enginecrate.errors import CalibrationInvalid, PlanBuildFailed
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.cast.overflow import overflowing
from enginecrate.graph.typed import Scheme
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress

__all__ = ["make_cast", "make_quantized"]


def make_cast(
    inputs: GraphInputs, precision: Precision, settings: Settings, progress: Progress
) -> GraphResult:
    """The graph in FP16 or BF16. Nodes that overflow on the calibration photos stay in FP32.

    Raises:
        AccuracyTooLow: it fails the gate.
        CalibrationInvalid: there are calibration photos, and they cannot be used.
    """
    table = _table(inputs, settings, progress) if inputs.photos.calibration else None
    risky = {}
    if table is not None and precision is Precision.FP16:
        risky = overflowing(inputs.model, table.observed)
    progress(f"cast to {precision}", 0, 1)
    graph = cast(inputs.model, precision, keep=tuple(risky))
    progress(f"cast to {precision}", 1, 1)
    notes = tuple(f"{node} stays in FP32: {reason}" for node, reason in risky.items())
    graph = replace(graph, notes=(*graph.notes, *notes))
    digest = str(table.digest) if table is not None else ""
    try:
        engine = load_candidate(graph.model, "simulated")
    except PlanBuildFailed as exc:
        note = f"its accuracy was not measured: nothing here executes {precision} ({exc})"
        return GraphResult(replace(graph, notes=(*graph.notes, note)), digest)
    with closing(engine):
        evaluator, truth = inputs.evaluation_set.few_evaluator(), inputs.evaluation_set.labelled
        evaluation = evaluator.evaluate(engine, "simulated", progress)
        check_gate(evaluation, f"the {precision} graph")
        labelled = truth.measure(engine, progress) if truth else None
    if labelled is not None:
        check_labelled_gate(labelled, f"the {precision} graph")
    return GraphResult(graph, digest, evaluation, labelled=labelled)


def make_quantized(
    inputs: GraphInputs, scheme: Scheme, settings: Settings, progress: Progress
) -> GraphResult:
    """The graph in INT8 or FP8: calibrated, examined, recovered.

    Raises:
        CalibrationInvalid: there are no calibration photos, or they cannot be used.
        AccuracyTooLow, NotWorthwhile: as `quantize_accurately`.
    """
    photos = inputs.photos
    if not photos.calibration:
        raise CalibrationInvalid(
            "int8 and fp8 need photos to choose scales with: name their folder in the manifest, "
            '[precision] calibration = { images = "calibration/" }'
        )
    table = _table(inputs, settings, progress)
    subject = Subject(
        model=inputs.model,
        ranges=table.ranges,
        scheme=scheme,
        pipeline=inputs.project.pipeline,
        photos=augment(photos.calibration, FEW_PHOTOS),
        allow_mixed=inputs.project.manifest.precision.allow_mixed,
    )
    inputs.evaluation_set.run_reference()
    recovered = quantize_accurately(subject, inputs.evaluation_set, progress)
    return GraphResult(
        recovered.graph,
        str(table.digest),
        recovered.evaluation,
        recovered.recovery,
        recovered.labelled,
    )


def _table(inputs: GraphInputs, settings: Settings, progress: Progress) -> CalibrationTable:
    section = inputs.project.manifest.precision.calibration
    if section is None:
        raise CalibrationInvalid("the manifest names no calibration photos")
    return calibrate(
        inputs.project,
        inputs.model,
        inputs.photos.calibration,
        method=section.method,
        percentile=section.percentile,
        max_photos=section.max_images,
        settings=settings,
        progress=progress,
    )
