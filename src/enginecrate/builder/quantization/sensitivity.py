"""The sensitivity of each layer: how much its quantisation alone changes the answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import numpy as np

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.project.photos import Photo, spread
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.typed import TypedGraph
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Array, Precision, Progress, Tensors, no_progress

__all__ = ["LayerSensitivity", "measure_sensitivity"]


_PHOTOS = 8
_STEP = "measure each layer's sensitivity"


class LayerSensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. error: relative L2 distance of the model's outputs, mean over photos.

    share: of the multiply-adds of all layers.
    """

    node: str
    operator: str
    error: float
    share: float


def measure_sensitivity(
    reference: OnnxModel,
    make: Callable[[Collection[str]], TypedGraph],
    pipeline: Pipeline,
    photos: Sequence[Photo],
    precision: Precision,
    progress: Progress = no_progress,
) -> tuple[LayerSensitivity, ...]:
    """Quantise one layer at a time, the others in float, and compare the outputs.

    Errors of single layers add up nearly independently, so the layers that do most harm alone do
    most harm together (Wu et al., "Integer Quantization for Deep Learning Inference", 2020,
    section 5.2, "Partial Quantization": one layer at a time, most sensitive first).

    Args:
        reference: the model in FP32.
        make: the quantised graph without the layers with these names.
        pipeline: the app's.
        photos: some of those that calibration used.
        precision: of the layers to look at.
        progress: told about each layer.

    Returns:
        Most sensitive first; of equals the one with fewer multiply-adds.
    """
    chosen = spread(sorted(photos, key=lambda photo: photo.digest), _PHOTOS)
    inputs = [pipeline.prepare(photo.read()).tensors for photo in chosen]
    references = _outputs(reference, inputs)
    full = make(())
    layers = [layer for layer in full.layers if layer.precision is precision]
    total = sum(layer.macs for layer in full.layers) or 1
    names = [layer.node for layer in layers]
    sensitivities = []
    for number, layer in enumerate(layers):
        progress(_STEP, number, len(layers))
        alone = make([name for name in names if name != layer.node])
        error = _distance(references, _outputs(alone.model, inputs))
        sensitivities.append(
            LayerSensitivity(
                node=layer.node,
                operator=layer.operator,
                error=float(f"{error:.4g}"),
                share=round(layer.macs / total, 6),
            )
        )
    progress(_STEP, len(layers), len(layers))
    return tuple(sorted(sensitivities, key=lambda one: (-one.error, one.share, one.node)))


def _outputs(model: OnnxModel, inputs: Sequence[Tensors]) -> list[Tensors]:
    with (
        closing(load_candidate(model, "simulated")) as engine,
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        return list(pool.map(engine.run, inputs))


def _distance(references: Sequence[Tensors], candidates: Sequence[Tensors]) -> float:
    """Mean over photos and outputs; infinite when the graph computes NaN."""
    distances = [
        _relative(expected[name], given[name])
        for expected, given in zip(references, candidates, strict=True)
        for name in expected
        if expected[name].dtype.kind == "f"
    ]
    mean = float(np.mean(distances)) if distances else 0.0
    return mean if np.isfinite(mean) else float(np.finfo(np.float32).max)


def _relative(expected: Array, given: Array) -> float:
    reference_values, candidate_values = expected.astype(np.float64), given.astype(np.float64)
    length = float(np.linalg.norm(reference_values))
    return (
        float(np.linalg.norm(candidate_values - reference_values)) / length
        if length
        else float(np.abs(candidate_values).max())
    )
