"""The typed graph of one precision: out of the cache, or cast or quantised, and gated."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.graphs.cache import GraphStore, StoredGraph
from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_key import graph_key
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.precisions import make_cast, make_quantized
from enginecrate.builder.project.photos import spread
from enginecrate.builder.quantization.speed import Speed, compare_speed
from enginecrate.errors import NotWorthwhile
from enginecrate.graph.typed import QUANTISED, Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress, Tensors, no_progress

__all__ = ["obtain_graph", "scheme_of_graph"]

_LEAST_SPEED = 1.2
"""The factor by which an INT8 graph must be faster than FP32 where that can be timed."""

_TIMED = 4
_CLOSER = 3


def scheme_of_graph(precision: Precision, scheme: Scheme) -> Scheme:
    """The scheme that tells graphs of one precision apart. Without Q/DQ pairs all are the same."""
    return scheme if precision in QUANTISED else Scheme.CPU


def obtain_graph(
    inputs: GraphInputs,
    precision: Precision,
    scheme: Scheme,
    settings: Settings,
    progress: Progress = no_progress,
) -> GraphResult:
    """The typed graph, out of the cache or made and put there.

    Raises:
        CalibrationInvalid: int8 or fp8 without photos, or with unusable ones.
        EvaluationInvalid: the photos or labels that accuracy is measured with are unusable.
        AccuracyTooLow: it disagrees with the model as it was given, and mixing is forbidden or
            does not apply.
        NotWorthwhile: too little of it could be in this precision, or it is not faster.
        CacheUnusable: the cache folder cannot be used.
    """
    model = inputs.model
    if precision is Precision.FP32:
        return GraphResult(TypedGraph(model, Precision.FP32, ()))
    scheme = scheme_of_graph(precision, scheme)
    store = GraphStore(settings.cache_path)
    key = graph_key(inputs.project, precision, scheme, inputs.photos)
    stored = store.get(key) if model.weights is None else None
    if stored is not None:
        return stored.result(model)
    if precision in QUANTISED:
        result = make_quantized(inputs, scheme, settings, progress)
        result = replace(result, speed=_check_speed(inputs, result, scheme, progress))
    else:
        result = make_cast(inputs, precision, settings, progress)
    if result.typed.model.weights is None:
        store.put(key, StoredGraph.of(result))
    return result


def _check_speed(
    inputs: GraphInputs, result: GraphResult, scheme: Scheme, progress: Progress
) -> Speed | None:
    """Time an INT8 graph for the CPU against FP32.

    Raises:
        NotWorthwhile: it is less than 1.2 times as fast.
    """
    if scheme is not Scheme.CPU or result.recovery is None:
        return None
    progress("compare the speed with FP32", 0, 1)
    with (
        closing(load_candidate(inputs.model, "measured", threads=0)) as baseline,
        closing(load_candidate(result.typed.model, "measured", threads=0)) as candidate,
    ):
        samples = _samples(inputs)
        speed = compare_speed(baseline, candidate, samples)
        if speed.ratio < _LEAST_SPEED:  # look closer before anything is refused
            speed = compare_speed(baseline, candidate, samples, _CLOSER * speed.runs)
    progress("compare the speed with FP32", 1, 1)
    if speed.ratio < _LEAST_SPEED:
        raise NotWorthwhile(
            f"INT8 is not worthwhile for this model here: it is {speed.ratio:.2f} times as fast "
            f"as FP32 on this CPU ({speed.candidate_ms:.2f} ms against {speed.baseline_ms:.2f} ms "
            f"for one sample, medians of {speed.runs} runs in turn), and at least "
            f"{_LEAST_SPEED} times is wanted, with {result.recovery.share:.0%} of the "
            f"multiply-adds in INT8 and {len(result.recovery.kept)} layers kept in FP32; "
            "build fp32 for the CPU",
            evaluation=result.evaluation,
        )
    return speed


def _samples(inputs: GraphInputs) -> Sequence[Tensors]:
    chosen = spread(inputs.photos.calibration, _TIMED)
    return [inputs.project.pipeline.prepare(photo.read()).tensors for photo in chosen]
