"""What the inputs of a model's layers look like on calibration photos: mean and covariance."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import numpy.typing as npt

from enginecrate.build.calibration.observer import (
    Observer,
    activation_bytes,
    activations,
    in_groups,
)
from enginecrate.build.layer_inputs import LayerInputs, layers_with_inputs
from enginecrate.build.photos import Photo, spread
from enginecrate.engines.cores import available_cores
from enginecrate.graph.model import OnnxModel
from enginecrate.graph.rounding import LARGEST_ROW, Moments
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Progress, Tensors, no_progress

__all__ = ["collect_moments"]

Doubles = npt.NDArray[np.float64]

_PHOTOS = 96
_SAMPLES = 3072
"""Samples of each layer over all photos: more than the longest row that is refined has inputs."""

_GROUP_BYTES = 256 * 2**20
_BLOCK = 16
"""Photos whose samples are multiplied at once; also bounds the memory."""

_STEP = "look at the layers' inputs"


class _Sums:
    """The moments of one layer, as they grow."""

    def __init__(self, layer: LayerInputs) -> None:
        self._long = layer.length > LARGEST_ROW
        self._count = 0
        self._total: Doubles = np.zeros(0)
        self._products: Doubles = np.zeros(0)

    def add(self, rows: Doubles) -> None:
        """rows: (groups, samples, K)."""
        if not self._count:
            groups, _, length = rows.shape
            size = 0 if self._long else length
            self._total = np.zeros((groups, length))
            self._products = np.zeros((groups, size, size))
        self._count += rows.shape[1]
        self._total += rows.sum(axis=1)
        if not self._long:
            self._products += rows.transpose(0, 2, 1) @ rows

    def moments(self) -> Moments:
        mean = self._total / self._count
        if self._long:
            return Moments(mean, self._products)
        square = mean[:, :, None] * mean[:, None, :]
        return Moments(mean, self._products / self._count - square)


def collect_moments(
    model: OnnxModel,
    pipeline: Pipeline,
    photos: Sequence[Photo],
    progress: Progress = no_progress,
) -> dict[str, Moments]:
    """The moments of every layer with constant weights, by the node's name.

    The same photos give the same moments, whatever their names and the number of cores.

    Args:
        model: simplified, in FP32, with named nodes.
        pipeline: the app's.
        photos: those that the scales come from; at most 96 of them are used.
        progress: told about the photos.

    Raises:
        PipelineError: a photo cannot be used any more.
        EngineError: the model cannot be run.
    """
    if model.weights is not None or not photos:
        return {}
    chosen = spread(sorted(photos, key=lambda photo: photo.digest), _PHOTOS)
    layers = layers_with_inputs(model, activations(model))
    sizes = activation_bytes(model, pipeline.prepare(chosen[0].read()).tensors)
    sources = tuple(dict.fromkeys(layer.source for layer in layers))
    found: dict[str, Moments] = {}
    for group in in_groups(sources, sizes, _GROUP_BYTES):
        mine = [layer for layer in layers if layer.source in group]
        found |= _collect(model, pipeline, chosen, group, mine, progress)
    return found


def _collect(
    model: OnnxModel,
    pipeline: Pipeline,
    photos: Sequence[Photo],
    names: Sequence[str],
    layers: Sequence[LayerInputs],
    progress: Progress,
) -> dict[str, Moments]:
    """One pass over the photos, for the layers that read these tensors."""
    sums = [_Sums(layer) for layer in layers]
    count = -(-_SAMPLES // len(photos))
    observer = Observer(model, names)

    def look(place: int) -> list[Doubles]:
        seen = dict(zip(names, observer.run(_tensors(pipeline, photos[place])), strict=True))
        return [
            layer.sample(seen[layer.source], count, (number, place))
            for number, layer in enumerate(layers)
        ]

    with closing(observer), ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(photos), _BLOCK):
            progress(_STEP, start, len(photos))
            places = range(start, min(start + _BLOCK, len(photos)))
            for one, rows in zip(sums, zip(*pool.map(look, places), strict=True), strict=True):
                one.add(np.concatenate(rows, axis=1))
    progress(_STEP, len(photos), len(photos))
    return {layer.node.name: one.moments() for layer, one in zip(layers, sums, strict=True)}


def _tensors(pipeline: Pipeline, photo: Photo) -> Tensors:
    return pipeline.prepare(photo.read()).tensors
