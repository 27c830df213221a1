"""Statistics of a model's activations on calibration photos: samples, means and covariances.

The moments of a layer are those of the inputs of single output numbers. `LayerInputs` picks these
out of the tensor that the layer reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto

from enginecrate.builder.project.photos import Photo, spread
from enginecrate.builder.quantization.calibration.observer import (
    Observer,
    activation_bytes,
    activations,
    in_groups,
)
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.placement import attribute
from enginecrate.graph.quantize.refinement import groups_of, row_length
from enginecrate.graph.quantize.rounding import LARGEST_ROW, Moments
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Array, Progress, no_progress

__all__ = ["Statistics", "collect_statistics", "layers_with_inputs"]

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
    """The statistics of one model on one set of photos.

    moments: of the inputs of every layer with constant weights, by the node's name.
    values: a sample of the values of each tensor that was asked for.
    """

    moments: dict[str, Moments] = field(default_factory=dict, repr=False)
    values: dict[str, Floats] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """A Conv, Gemm or MatMul with constant weights.

    source: the tensor that it reads.
    weight: the shape of its weights.
    length: how many inputs make one output number.
    """

    node: onnx.NodeProto
    source: str
    weight: tuple[int, ...]
    length: int

    def sample(self, data: Array, count: int, seed: Sequence[int]) -> Doubles:
        """Inputs of at most `count` output numbers of each channel, as (groups, samples, length).

        Which ones is chosen by the seed.
        """
        if self.node.op_type != "Conv":
            turned = attribute(self.node, "transA", 0)
            rows = (data.T if turned else data).reshape(-1, self.length)
            return _some(rows, count, seed)[None].astype(np.float64)
        windows = self._windows(data[0])
        height, width = windows.shape[1:3]
        random = np.random.default_rng(seed)
        number = min(count, height * width)
        places = random.integers(0, height, number), random.integers(0, width, number)
        picked = windows[:, places[0], places[1]]
        groups = groups_of(self.node)
        shaped = picked.reshape(groups, -1, number, *self.weight[2:])
        return shaped.swapaxes(1, 2).reshape(groups, number, -1).astype(np.float64)

    def _numbers(self, name: str, default: list[int]) -> list[int]:
        return next((list(one.ints) for one in self.node.attribute if one.name == name), default)

    def _windows(self, data: Array) -> Array:
        """(channels, height, width, kernel height, kernel width), a view."""
        top, left, bottom, right = self._numbers("pads", [0, 0, 0, 0])
        steps = self._numbers("strides", [1, 1])
        apart = self._numbers("dilations", [1, 1])
        sizes = [(size - 1) * gap + 1 for size, gap in zip(self.weight[2:], apart, strict=True)]
        padded = np.pad(data, ((0, 0), (top, bottom), (left, right)))
        windows = sliding_window_view(padded, sizes, axis=(1, 2))
        return windows[:, :: steps[0], :: steps[1], :: apart[0], :: apart[1]]


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
    statistics = Statistics()
    for group in in_groups(tuple(sources), sizes, _GROUP_BYTES):
        part = _Pass(model, pipeline, chosen, group, layers, tensors).run(progress)
        statistics.moments.update(part.moments)
        statistics.values.update(part.values)
    return statistics


def layers_with_inputs(model: OnnxModel, known: Sequence[str]) -> list[LayerInputs]:
    """The layers of the main graph whose inputs can be sampled.

    Args:
        model: in FP32, with named nodes.
        known: FP32 activations that can be looked at.
    """
    weights = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    visible = set(known)
    layers = []
    for node in model.proto.graph.node:
        weight = weights.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None or node.input[0] not in visible or not _is_plain(node, weight):
            continue
        length = row_length(node, weight)
        layers.append(LayerInputs(node, node.input[0], tuple(weight.dims), length))
    return layers


def _is_plain(node: onnx.NodeProto, weight: TensorProto) -> bool:
    if weight.data_type != TensorProto.FLOAT or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Conv":
        padding = attribute(node, "auto_pad", b"NOTSET")
        return len(weight.dims) == 4 and padding in (b"NOTSET", b"VALID")
    return node.op_type in ("Gemm", "MatMul") and len(weight.dims) == 2


def _some(rows: Array, count: int, seed: Sequence[int]) -> Array:
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]


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
                for number, total in enumerate(sums):
                    total.add(np.concatenate([rows[number] for rows, _ in seen], axis=1))
                for number, kept in enumerate(values):
                    kept += [some[number] for _, some in seen]
        progress(_STEP, len(self._photos), len(self._photos))
        moments = {
            layer.node.name: total.moments()
            for layer, total in zip(self._layers, sums, strict=True)
        }
        samples = {
            name: np.concatenate(kept) for name, kept in zip(self._tensors, values, strict=True)
        }
        return Statistics(moments, samples)

    def _look(self, observer: Observer, number: int) -> tuple[list[Doubles], list[Floats]]:
        tensors = self._pipeline.prepare(self._photos[number].read()).tensors
        seen = dict(zip(self._names, observer.run(tensors), strict=True))
        rows = [
            layer.sample(seen[layer.source], self._count, (index, number))
            for index, layer in enumerate(self._layers)
        ]
        random = np.random.default_rng(number)
        some = [
            flat[random.integers(0, flat.size, _VALUES)]
            for flat in (seen[name].reshape(-1) for name in self._tensors)
            if flat.size
        ]
        return rows, some
