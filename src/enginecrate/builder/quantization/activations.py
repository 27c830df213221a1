"""What a model's activations look like on calibration photos: samples, means and covariances."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from enginecrate.build.layer_inputs import LayerInputs, layers_with_inputs
from enginecrate.builder.project.photos import Photo, spread
from enginecrate.builder.quantization.calibration.observer import (
    Observer,
    activation_bytes,
    activations,
    in_groups,
)
from enginecrate.engines.cores import available_cores
from enginecrate.graph.model import OnnxModel
from enginecrate.graph.rounding import LARGEST_ROW, Moments
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Progress, no_progress

__all__ = ["Statistics", "collect_statistics"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

_PHOTOS = 96
_SAMPLES = 3072
"""Samples of each layer over all photos: more than the longest row that is refined has inputs."""

_GROUP_BYTES = 256 * 2**20
_BLOCK = 16
"""Photos whose samples are multiplied at once; also bounds the memory."""

_VALUES = 512
"""Values of each tensor that are kept of one photo."""

_STEP = "look at the activations"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was seen.

    moments: of the inputs of every layer with constant weights, by the node's name.
    values: a sample of the values of each tensor that was asked for.
    """

    moments: dict[str, Moments] = field(default_factory=dict, repr=False)
    values: dict[str, Floats] = field(default_factory=dict, repr=False)


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


def collect_statistics(
    model: OnnxModel,
    pipeline: Pipeline,
    photos: Sequence[Photo],
    tensors: Sequence[str],
    progress: Progress = no_progress,
) -> Statistics:
    """Run the FP32 graph on the photos and look at its activations.

    The same photos give the same statistics, whatever their names and the number of cores.

    Args:
        model: simplified, with named nodes.
        pipeline: the app's.
        photos: those that the scales come from; at most 96 of them are used.
        tensors: activations whose values are wanted.
        progress: told about the photos.

    Raises:
        PipelineError: a photo cannot be used any more.
        EngineError: the model cannot be run.
    """
    if model.weights is not None or not photos:
        return Statistics()
    chosen = spread(sorted(photos, key=lambda photo: photo.digest), _PHOTOS)
    layers = layers_with_inputs(model, activations(model))
    sizes = activation_bytes(model, pipeline.prepare(chosen[0].read()).tensors)
    sources = dict.fromkeys((*(layer.source for layer in layers), *tensors))
    found = Statistics()
    for group in in_groups(tuple(sources), sizes, _GROUP_BYTES):
        one = _Pass(model, pipeline, chosen, group, layers, tensors).run(progress)
        found.moments.update(one.moments)
        found.values.update(one.values)
    return found


class _Pass:
    """One pass over the photos, for some of the tensors."""

    def __init__(
        self,
        model: OnnxModel,
        pipeline: Pipeline,
        photos: Sequence[Photo],
        names: Sequence[str],
        layers: Sequence[LayerInputs],
        tensors: Sequence[str],
    ) -> None:
        self._model = model
        self._pipeline = pipeline
        self._photos = photos
        self._names = names
        self._layers = [layer for layer in layers if layer.source in names]
        self._tensors = [name for name in tensors if name in names]
        self._count = -(-_SAMPLES // len(photos))

    def run(self, progress: Progress) -> Statistics:
        sums = [_Sums(layer) for layer in self._layers]
        values: list[list[Floats]] = [[] for _ in self._tensors]
        observer = Observer(self._model, self._names)
        with closing(observer), ThreadPoolExecutor(available_cores()) as pool:
            for start in range(0, len(self._photos), _BLOCK):
                progress(_STEP, start, len(self._photos))
                places = range(start, min(start + _BLOCK, len(self._photos)))
                seen = list(pool.map(lambda place: self._look(observer, place), places))
                for number, one in enumerate(sums):
                    one.add(np.concatenate([rows[number] for rows, _ in seen], axis=1))
                for number, kept in enumerate(values):
                    kept += [some[number] for _, some in seen]
        progress(_STEP, len(self._photos), len(self._photos))
        moments = {
            layer.node.name: one.moments() for layer, one in zip(self._layers, sums, strict=True)
        }
        samples = {
            name: np.concatenate(kept) for name, kept in zip(self._tensors, values, strict=True)
        }
        return Statistics(moments, samples)

    def _look(self, observer: Observer, place: int) -> tuple[list[Doubles], list[Floats]]:
        tensors = self._pipeline.prepare(self._photos[place].read()).tensors
        seen = dict(zip(self._names, observer.run(tensors), strict=True))
        rows = [
            layer.sample(seen[layer.source], self._count, (number, place))
            for number, layer in enumerate(self._layers)
        ]
        random = np.random.default_rng(place)
        some = [
            flat[random.integers(0, flat.size, _VALUES)]
            for flat in (seen[name].reshape(-1) for name in self._tensors)
            if flat.size
        ]
        return rows, some
