"""The inputs of single output numbers of a layer, picked out of its input tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto

from enginecrate.graph.model import OnnxModel
from enginecrate.graph.placement import attribute
from enginecrate.graph.refine import groups_of, row_length
from enginecrate.values import Array

__all__ = ["LayerInputs", "layers_with_inputs"]

Doubles = npt.NDArray[np.float64]


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


def layers_with_inputs(model: OnnxModel, known: Sequence[str]) -> list[LayerInputs]:
    """The layers of the main graph whose inputs can be sampled.

    Args:
        model: in FP32, with named nodes.
        known: FP32 activations that can be looked at.
    """
    weights = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    visible = set(known)
    found = []
    for node in model.proto.graph.node:
        weight = weights.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None or node.input[0] not in visible or not _is_plain(node, weight):
            continue
        length = row_length(node, weight)
        found.append(LayerInputs(node, node.input[0], tuple(weight.dims), length))
    return found


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
