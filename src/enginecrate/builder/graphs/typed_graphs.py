"""From a project to the typed graph of one precision: simplified, cast or quantised, gated.

The key of a typed graph: everything that shapes it, or what is known about it.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.labelled import LabelledAccuracy, labelled_files
from enginecrate.builder.graphs.cache import GraphRecord, GraphStore, StoredGraph
from enginecrate.builder.graphs.precisions import MadeGraph, make_cast, make_quantized
from enginecrate.builder.project.photo_split import ProjectPhotos, find_project_photos
from enginecrate.builder.project.photos import spread
from enginecrate.builder.project.project import Project
from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest
from enginecrate.builder.quantization.recovery import Recovery
from enginecrate.builder.quantization.sensitivity import load_candidate
from enginecrate.builder.quantization.speed import Speed, compare_speed
from enginecrate.errors import NotWorthwhile
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.rewrite.simplify import simplifier, simplify
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Digest, Precision, Progress, Tensors, current_platform, no_progress
from enginecrate.version import __version__

__all__ = ["LEAST_SPEED", "Variant", "obtain_variant"]

_FORMAT = 1
"""Raised when the same inputs make another graph than before."""

_LIBRARIES = ("numpy", "onnx", "onnxruntime")


def variant_key(
    project: Project, precision: Precision, scheme: Scheme, photos: ProjectPhotos
) -> str:
    """64 hex digits."""
    section = project.manifest.precision
    # Which of several precisions is built first does not matter to any of them.
    shaping = {"calibration": section.calibration, "accuracy": section.accuracy,
               "allow_mixed": section.allow_mixed}  # fmt: skip
    parts = {
        "format": _FORMAT,
        "model": str(project.model.source_digest),
        "pipeline": str(pipeline_digest(project)),
        "labels": list(project.labels),
        "photos": photos.digests,
        "labelled": _labelled(project),
        "precision": precision,
        "scheme": scheme,
        "section": shaping,
        "tool": __version__,
        "simplifier": simplifier(),
        "platform": current_platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    return Digest.of(msgspec.json.encode(parts, order="sorted")).hex


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # onnxruntime-gpu brings the same module
        return ""


def _labelled(project: Project) -> list[tuple[str, str]]:
    labelled = project.manifest.precision.accuracy.labelled
    if labelled is None:
        return []
    path = project.root / labelled
    folder = path if path.is_dir() else path.parent
    return [
        (file.relative_to(folder).as_posix(), str(Digest.of_file(file)))
        for file in labelled_files(path)
    ]


_log = logging.getLogger(__name__)

LEAST_SPEED = 1.2
"""How much faster than FP32 an INT8 graph must be where that can be timed."""

_NO_PHOTOS = ProjectPhotos((), (), ())
_TIMED = 4
_CLOSER = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """A typed graph of a project.

    asked: the precision that was asked for; the graph's own may be `mixed`.
    calibration_digest: of the table that the scales came from; empty without one.
    evaluation: against the FP32 reference; `None` for fp32, and where nothing here executes it.
    recovery: what was done to pass the gate; `None` when nothing was quantised.
    labelled: against the truth, when the manifest names some.
    speed: against FP32, when this very build timed it.
    """

    graph: TypedGraph
    asked: Precision
    scheme: Scheme
    calibration_digest: str = ""
    evaluation: Evaluation | None = None
    recovery: Recovery | None = None
    labelled: LabelledAccuracy | None = None
    speed: Speed | None = None


def obtain_variant(
    project: Project,
    precision: Precision,
    scheme: Scheme,
    settings: Settings,
    progress: Progress = no_progress,
) -> Variant:
    """The typed graph, out of the cache or made and put there.

    Raises:
        CalibrationInvalid: int8 or fp8 without photos, or with unusable ones.
        EvaluationInvalid: the photos or labels that accuracy is measured with are unusable.
        AccuracyTooLow: it disagrees with the model as it was given, and mixing is forbidden or
            does not apply.
        NotWorthwhile: too little of it could be in this precision, or it is not faster.
        CacheUnusable: the cache folder cannot be used.
    """
    store = GraphStore(settings.cache_path)
    model = _simplified(project, store, progress)
    if precision is Precision.FP32:
        return Variant(TypedGraph(model, Precision.FP32, ()), precision, scheme)
    photos = find_project_photos(project, progress)
    key = variant_key(project, precision, scheme, photos)
    stored = store.get(key) if model.weights is None else None
    if stored is None:
        made = _make(project, model, precision, scheme, photos, settings, progress)
        speed = _check_speed(model, made, scheme, project, photos, progress)
        if made.graph.model.weights is None:
            store.put(key, _stored(made))
        return _variant(made, precision, scheme, speed)
    record = stored.record
    made = MadeGraph(
        stored.typed(model),
        record.calibration_digest,
        record.evaluation,
        record.recovery,
        record.labelled,
    )
    return _variant(made, precision, scheme, None)


def _make(
    project: Project,
    model: OnnxModel,
    precision: Precision,
    scheme: Scheme,
    photos: ProjectPhotos,
    settings: Settings,
    progress: Progress,
) -> MadeGraph:
    if precision in (Precision.FP16, Precision.BF16):
        return make_cast(project, model, precision, photos, settings, progress)
    return make_quantized(project, model, scheme, photos, settings, progress)


def _variant(made: MadeGraph, precision: Precision, scheme: Scheme, speed: Speed | None) -> Variant:
    return Variant(
        graph=made.graph,
        asked=precision,
        scheme=scheme,
        calibration_digest=made.calibration_digest,
        evaluation=made.evaluation,
        recovery=made.recovery,
        labelled=made.labelled,
        speed=speed,
    )


def _simplified(project: Project, store: GraphStore, progress: Progress) -> OnnxModel:
    """The simplified model; simplifying takes seconds, so its graph is kept, too."""
    key = variant_key(project, Precision.FP32, Scheme.CPU, _NO_PHOTOS)
    stored = store.get(key) if project.model.weights is None else None
    if stored is not None:
        return stored.typed(project.model).model
    progress("simplify the graph", 0, 1)
    simplified = simplify(project.model)
    if simplified.note:
        _log.warning("%s: %s", project.model.source, simplified.note)
    progress("simplify the graph", 1, 1)
    if simplified.model.weights is None and not simplified.note:
        store.put(key, _stored(MadeGraph(TypedGraph(simplified.model, Precision.FP32, ()))))
    return simplified.model


def _stored(made: MadeGraph) -> StoredGraph:
    proto = made.graph.model.proto
    data = proto.SerializeToString(deterministic=True)
    record = GraphRecord(
        graph_digest=str(Digest.of(data)),
        precision=made.graph.precision,
        layers=made.graph.layers,
        notes=made.graph.notes,
        calibration_digest=made.calibration_digest,
        evaluation=made.evaluation,
        recovery=made.recovery,
        labelled=made.labelled,
    )
    return StoredGraph(data, proto, record)


def _check_speed(
    model: OnnxModel,
    made: MadeGraph,
    scheme: Scheme,
    project: Project,
    photos: ProjectPhotos,
    progress: Progress,
) -> Speed | None:
    """Time an INT8 graph for the CPU against FP32.

    Raises:
        NotWorthwhile: it is less than 1.2 times as fast.
    """
    if scheme is not Scheme.CPU or made.recovery is None:
        return None
    progress("compare the speed with FP32", 0, 1)
    with (
        closing(load_candidate(model, "measured", threads=0)) as baseline,
        closing(load_candidate(made.graph.model, "measured", threads=0)) as candidate,
    ):
        inputs = _inputs(project, photos)
        speed = compare_speed(baseline, candidate, inputs)
        if speed.ratio < LEAST_SPEED:  # look closer before anything is refused
            speed = compare_speed(baseline, candidate, inputs, _CLOSER * speed.runs)
    progress("compare the speed with FP32", 1, 1)
    if speed.ratio < LEAST_SPEED:
        raise NotWorthwhile(
            f"INT8 is not worthwhile for this model here: it is {speed.ratio:.2f} times as fast "
            f"as FP32 on this CPU ({speed.candidate_ms:.2f} ms against {speed.baseline_ms:.2f} ms "
            f"for one sample, medians of {speed.runs} runs in turn), and at least "
            f"{LEAST_SPEED} times is wanted, with {made.recovery.share:.0%} of the multiply-adds "
            f"in INT8 and {len(made.recovery.kept)} layers kept in FP32; build fp32 for the CPU",
            evaluation=made.evaluation,
        )
    return speed


def _inputs(project: Project, photos: ProjectPhotos) -> Sequence[Tensors]:
    chosen = spread(photos.calibration, _TIMED)
    return [project.pipeline.prepare(photo.read()).tensors for photo in chosen]
