"""Makes a typed graph and examines it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from enginecrate.builder.accuracy.evaluation import Evaluation, Evaluator, check_gate, exam_samples
from enginecrate.builder.accuracy.labelled import (
    LabelledAccuracy,
    check_labelled_gate,
    open_labelled,
)
from enginecrate.builder.project.photo_split import ProjectPhotos
from enginecrate.builder.project.photos import augment
from enginecrate.builder.project.project import Project
from enginecrate.builder.quantization.calibration import CalibrationTable, calibrate
from enginecrate.builder.quantization.recovery import Exam, Recovery, Subject, quantize_accurately
from enginecrate.builder.quantization.sensitivity import load_candidate
from enginecrate.errors import CalibrationInvalid, PlanBuildFailed
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.cast.overflow import overflowing
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress

__all__ = ["MadeGraph", "make_cast", "make_quantized"]

_FEW = 100
"""Fewer calibration photos than this are filled up with changed copies."""


@dataclass(frozen=True, slots=True)
class MadeGraph:
    """A graph that passed its gates, and what is known about it."""

    graph: TypedGraph
    calibration_digest: str = ""
    evaluation: Evaluation | None = None
    recovery: Recovery | None = None
    labelled: LabelledAccuracy | None = None


def make_cast(
    project: Project,
    model: OnnxModel,
    precision: Precision,
    photos: ProjectPhotos,
    settings: Settings,
    progress: Progress,
) -> MadeGraph:
    """The graph in FP16 or BF16. Nodes that overflow on the calibration photos stay in FP32.

    Raises:
        AccuracyTooLow: it fails the gate.
        CalibrationInvalid: there are calibration photos, and they cannot be used.
    """
    table = _table(project, model, photos, settings, progress) if photos.calibration else None
    risky = overflowing(model, table.observed) if table and precision is Precision.FP16 else {}
    progress(f"cast to {precision}", 0, 1)
    graph = cast(model, precision, keep=tuple(risky))
    progress(f"cast to {precision}", 1, 1)
    notes = tuple(f"{node} stays in FP32: {reason}" for node, reason in risky.items())
    graph = TypedGraph(graph.model, graph.precision, graph.layers, (*graph.notes, *notes))
    digest = str(table.digest) if table else ""
    try:
        engine = load_candidate(graph.model, "simulated")
    except PlanBuildFailed as exc:
        note = f"its accuracy was not measured: nothing here executes {precision} ({exc})"
        graph = TypedGraph(graph.model, graph.precision, graph.layers, (*graph.notes, note))
        return MadeGraph(graph, digest)
    with closing(engine):
        exam = _exam(project, photos.few(), progress)
        evaluation = exam.evaluator.evaluate(engine, "simulated", progress)
        check_gate(evaluation, f"the {precision} graph")
        labelled = exam.labelled.measure(engine, progress) if exam.labelled else None
    if labelled is not None:
        check_labelled_gate(labelled, f"the {precision} graph")
    return MadeGraph(graph, digest, evaluation, labelled=labelled)


def make_quantized(
    project: Project,
    model: OnnxModel,
    scheme: Scheme,
    photos: ProjectPhotos,
    settings: Settings,
    progress: Progress,
) -> MadeGraph:
    """The graph in INT8 or FP8: calibrated, examined, recovered.

    Raises:
        CalibrationInvalid: there are no calibration photos, or they cannot be used.
        AccuracyTooLow, NotWorthwhile: as `quantize_accurately`.
    """
    if not photos.calibration:
        raise CalibrationInvalid(
            "int8 and fp8 need photos to choose scales with: name their folder in the manifest, "
            '[precision] calibration = { images = "calibration/" }'
        )
    table = _table(project, model, photos, settings, progress)
    subject = Subject(
        model=model,
        ranges=table.ranges,
        scheme=scheme,
        pipeline=project.pipeline,
        photos=augment(photos.calibration, _FEW),
        allow_mixed=project.manifest.precision.allow_mixed,
    )
    found = quantize_accurately(subject, _exam(project, photos, progress), progress)
    return MadeGraph(
        found.graph, str(table.digest), found.evaluation, found.recovery, found.labelled
    )


def _table(
    project: Project,
    model: OnnxModel,
    photos: ProjectPhotos,
    settings: Settings,
    progress: Progress,
) -> CalibrationTable:
    section = project.manifest.precision.calibration
    if section is None:
        raise CalibrationInvalid("the manifest names no calibration photos")
    return calibrate(
        project,
        model,
        photos.calibration,
        method=section.method,
        percentile=section.percentile,
        max_photos=section.max_images,
        settings=settings,
        progress=progress,
    )


def _exam(project: Project, photos: ProjectPhotos, progress: Progress) -> Exam:
    """What a graph of this project must pass; runs the reference, the model as it was given."""
    accuracy = project.manifest.precision.accuracy
    samples = exam_samples(photos.golden, photos.examined)
    with closing(load_candidate(project.model, "simulated")) as reference:
        evaluator = Evaluator(
            reference, project.pipeline, samples, accuracy.min_agreement, progress
        )
        labelled = open_labelled(project, reference, progress)
    return Exam(evaluator, labelled)
