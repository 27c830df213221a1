"""Better weights and biases for a quantised graph, at no cost when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import fresh_name, tensor_names
from enginecrate.graph.quantize.placement import attribute
from enginecrate.graph.quantize.rounding import Moments, round_weights
from enginecrate.graph.quantize.scales import INT32_LARGEST
from enginecrate.graph.rewrite.tidy import remove_unused
from enginecrate.graph.typed import TypedGraph

__all__ = ["Refiner", "groups_of", "row_length"]

Doubles = npt.NDArray[np.float64]


def groups_of(node: onnx.NodeProto) -> int:
    """Groups of a convolution; 1 for other layers."""
    return next((one.i for one in node.attribute if one.name == "group"), 1)


def _rows_of(node: onnx.NodeProto, weight: npt.NDArray[np.float32]) -> Doubles:
    """A layer's weights as (groups, rows, K): each row makes one output channel."""
    if node.op_type == "Conv":
        groups = groups_of(node)
        shaped = weight.reshape(groups, weight.shape[0] // groups, -1)
    elif node.op_type == "Gemm" and attribute(node, "transB", 0):
        shaped = weight[None]
    else:
        shaped = weight.T[None]
    return shaped.astype(np.float64)


def row_length(node: onnx.NodeProto, weight: TensorProto) -> int:
    """K: how many weights make one output number."""
    dims = list(weight.dims)
    if node.op_type == "Conv":
        return int(np.prod(dims[1:]))
    turned = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return int(dims[1] if turned else dims[0])


@dataclass(slots=True)
class Refiner:
    """Refines graphs that were quantised from one model; what it computed once it reuses.

    model: in FP32, with named nodes.
    moments: of the inputs of its layers, by the node's name.
    """

    model: OnnxModel
    moments: Mapping[str, Moments]
    _rounded: dict[tuple[str, bytes, float], Doubles] = field(default_factory=dict)

    def refine(self, graph: TypedGraph) -> TypedGraph:
        """The graph with weights that are rounded to fit the inputs, and biases that make good
        what is left of the error on average. Scales, nodes and precisions stay.

        Layers without moments, in FP8, or of another kind than Conv, Gemm and MatMul stay.
        """
        if not self.moments or graph.model.weights is not None:
            return graph
        proto = onnx.ModelProto()
        proto.CopyFrom(graph.model.proto)
        _Change(self, proto).run()
        return replace(graph, model=replace(graph.model, proto=proto))

    def rounded(self, node: onnx.NodeProto, weights: Doubles, scales: Doubles,
                largest: float, *, centred: bool) -> Doubles:  # fmt: skip
        """The whole numbers of a layer, as (groups, rows, K)."""
        key = (node.name, scales.tobytes(), largest)
        if key not in self._rounded:
            self._rounded[key] = round_weights(
                weights, scales, self.moments[node.name], largest, centred=centred
            )
        return self._rounded[key]


class _Change:
    """One graph being refined."""

    def __init__(self, refiner: Refiner, proto: onnx.ModelProto) -> None:
        self._refiner = refiner
        self._proto = proto
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._producers = {name: node for node in proto.graph.node for name in node.output}
        self._floats = {tensor.name: tensor for tensor in refiner.model.proto.graph.initializer}
        self._given = {node.name: node for node in refiner.model.proto.graph.node}
        self._written: dict[str, Doubles] = {}
        self._biases: set[str] = set()
        self._taken = tensor_names(proto)

    def run(self) -> None:
        for node in self._proto.graph.node:
            given = self._given.get(node.name)
            if given is None or node.name not in self._refiner.moments:
                continue
            if node.op_type in ("Conv", "Gemm", "MatMul") and given.input[1] in self._floats:
                self._layer(node, given)
        remove_unused(self._proto.graph)

    def _layer(self, node: onnx.NodeProto, given: onnx.NodeProto) -> None:
        pair = self._producers.get(node.input[1])
        if pair is None or pair.op_type != "DequantizeLinear":
            return
        weight = numpy_helper.to_array(self._floats[given.input[1]])
        rows = _rows_of(given, weight)
        scales = self._array(pair.input[1]).astype(np.float64).reshape(-1)
        steps = np.broadcast_to(scales, rows.shape[0] * rows.shape[1]).reshape(rows.shape[:2])
        biased = len(given.input) > 2 and given.input[2] in self._floats
        integers = self._integers(pair, given, rows, steps, centred=biased)
        if integers is not None and biased:
            lost = rows - integers * steps[..., None]
            mean = self._refiner.moments[given.name].mean
            self._bias(node, given, np.einsum("grk,gk->gr", lost, mean).reshape(-1))

    def _integers(
        self,
        pair: onnx.NodeProto,
        given: onnx.NodeProto,
        rows: Doubles,
        steps: Doubles,
        *,
        centred: bool,
    ) -> Doubles | None:
        """The weights' whole numbers, written into the graph; `None` when they are not INT8."""
        if pair.output[0] in self._written:  # two layers share their weights
            return self._written[pair.output[0]]
        zero = self._constants.get(pair.input[2]) if len(pair.input) > 2 else None
        if zero is None or zero.data_type != TensorProto.INT8:
            return None
        largest = float(np.abs(np.rint(rows / steps[..., None])).max(initial=1))
        integers = self._refiner.rounded(given, rows, steps, largest, centred=centred)
        self._written[pair.output[0]] = integers
        shape = tuple(self._floats[given.input[1]].dims)
        whole = self._constants.get(pair.input[0])
        if whole is not None:
            array = _as_weight(integers, given, shape).astype(np.int8)
            whole.CopyFrom(numpy_helper.from_array(array, whole.name))
        else:  # floats in front of a pair: exact multiples of the scale, so nothing is lost there
            quantize = self._producers[pair.input[0]]
            values = _as_weight(integers * steps[..., None], given, shape).astype(np.float32)
            quantize.input[0] = self._add(f"{quantize.input[0]}/rounded", values)
        return integers

    def _array(self, name: str) -> npt.NDArray[np.float32]:
        array: npt.NDArray[np.float32] = numpy_helper.to_array(self._constants[name])
        return array

    def _add(self, base: str, array: npt.NDArray[np.float32]) -> str:
        name = fresh_name(base, self._taken)
        self._taken.add(name)
        self._proto.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _bias(self, node: onnx.NodeProto, given: onnx.NodeProto, lost: Doubles) -> None:
        bias = numpy_helper.to_array(self._floats[given.input[2]]).astype(np.float64) + lost
        pair = self._producers.get(node.input[2])
        if pair is None:  # a bias in FP32
            node.input[2] = self._add(f"{node.input[2]}/corrected", bias.astype(np.float32))
            return
        target = self._constants.get(pair.input[0])
        if target is None or target.data_type != TensorProto.INT32 or target.name in self._biases:
            return
        self._biases.add(target.name)
        scale = self._array(pair.input[1]).astype(np.float64)
        integers = np.clip(np.rint(bias / scale), -INT32_LARGEST, INT32_LARGEST)
        target.CopyFrom(numpy_helper.from_array(integers.astype(np.int32), target.name))


def _as_weight(rows: Doubles, node: onnx.NodeProto, shape: tuple[int, ...]) -> Doubles:
    """From (groups, rows, K) back to the layout of the node's weights."""
    flat = rows.reshape(-1, rows.shape[-1])
    turned = node.op_type == "Conv" or bool(attribute(node, "transB", 0))
    return np.ascontiguousarray((flat if turned else flat.T).reshape(shape))
