"""Quantised weights, biases and constants, with the nodes that turn them back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from enginecrate.graph.onnx.names import fresh_name
from enginecrate.graph.quantize.placement import attribute
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.quantize.scales import (
    Scale,
    asymmetric_scale,
    bias_weight_scales,
    weight_peaks,
)
from enginecrate.graph.typed import Scheme

__all__ = ["ConstantWriter"]

Floats = npt.NDArray[np.float32]

_SEVEN_BITS = 64
"""Weights on a CPU: 255 x 64 x 2 stays in the int16 in which `vpmaddubsw` adds two products
(Intel's manual); 8 bits would saturate on processors without VNNI."""

_LARGEST = {Scheme.CPU: _SEVEN_BITS, Scheme.TENSORRT: 127, Scheme.FP8: 448}


@dataclass(slots=True)
class ConstantWriter:
    """Adds constants to a graph, and gives the nodes that read them.

    constants: the graph's constants by name.
    taken: every name of a tensor or node.
    folder: of weights that are not in the graph itself.
    """

    graph: onnx.GraphProto
    scheme: Scheme
    constants: Mapping[str, TensorProto]
    taken: set[str]
    folder: str = ""
    _written: dict[tuple[str, int | None, bytes], str] = field(default_factory=dict)

    def name(self, base: str) -> str:
        """A new name."""
        fresh = fresh_name(base, self.taken)
        self.taken.add(fresh)
        return fresh

    def parameters(self, tensor: str, scale: Scale) -> list[str]:
        """The constants that a pair around an activation reads: scale and zero point."""
        kind = {
            Scheme.CPU: TensorProto.UINT8,
            Scheme.TENSORRT: TensorProto.INT8,
            Scheme.FP8: TensorProto.FLOAT8E4M3FN,
        }[self.scheme]
        zero = helper.make_tensor(self.name(f"{tensor}/zero_point"), kind, [], [scale.zero_point])
        self.graph.initializer.append(zero)
        return [self._add(f"{tensor}/scale", np.float32(scale.scale)), zero.name]

    def layer(self, node: onnx.NodeProto, data_scale: np.float32) -> Iterator[onnx.NodeProto]:
        """Quantise the weights of a node, and on a CPU its bias; change its inputs to that."""
        name = node.input[1]
        weight = self._array(name)
        axis = _channel_axis(node, weight.ndim)
        scales = weight_peaks(name, weight, axis) / np.float32(_LARGEST[self.scheme])
        if self.scheme is not Scheme.CPU:
            yield from self._weight_pair(node, axis, scales)
            return
        biased = len(node.input) > 2 and node.input[2] != ""
        bias = self._array(node.input[2]) if biased else None
        if bias is not None:
            scales = bias_weight_scales(bias, data_scale, scales)
        yield from self._integer_weight(node, weight, axis, scales)
        if bias is not None:
            yield from self._integer_bias(node, bias, data_scale * scales)

    def activation_constants(
        self, node: onnx.NodeProto, names: Collection[str]
    ) -> Iterator[onnx.NodeProto]:
        """Quantise constants that stand where activations do: a factor, or a summand."""
        for index, name in enumerate(node.input):
            if name not in names:
                continue
            array = self._array(name)
            scale = asymmetric_scale(name, Range(float(array.min()), float(array.max())))
            integers = np.clip(np.rint(array / scale.scale) + scale.zero_point, 0, 255)
            data = self._add(f"{name}/quantized", integers.astype(np.uint8))
            output = self.name(f"{name}/dequantized")
            parameters = self.parameters(name, scale)
            yield self._dequantize([data, *parameters], output)
            node.input[index] = output

    def _integer_weight(
        self, node: onnx.NodeProto, weight: Floats, axis: int | None, scales: Floats
    ) -> Iterator[onnx.NodeProto]:
        key = (node.input[1], axis, scales.tobytes())
        if key not in self._written:
            name = node.input[1]
            shape = [1] * weight.ndim
            shape[axis or 0] = -1
            integers = np.clip(np.rint(weight / scales.reshape(shape)), -_SEVEN_BITS, _SEVEN_BITS)
            data = self._add(f"{name}/quantized", integers.astype(np.int8))
            yield self._dequantize(
                [data, *self._channel_parameters(name, axis, scales)],
                self._remember(key, name),
                axis,
            )
        node.input[1] = self._written[key]

    def _weight_pair(
        self, node: onnx.NodeProto, axis: int | None, scales: Floats
    ) -> Iterator[onnx.NodeProto]:
        """Keep the weights in FP32 in front of a pair: every version of TensorRT takes that."""
        name = node.input[1]
        key = (name, axis, scales.tobytes())
        if key not in self._written:
            parameters = self._channel_parameters(name, axis, scales)
            data = self.name(f"{name}/quantized")
            yield helper.make_node(
                "QuantizeLinear",
                [name, *parameters],
                [data],
                self.name(f"{data}/QuantizeLinear"),
                **_axis(axis),
            )
            yield self._dequantize([data, *parameters], self._remember(key, name), axis)
        node.input[1] = self._written[key]

    def _integer_bias(
        self, node: onnx.NodeProto, bias: Floats, scales: Floats
    ) -> Iterator[onnx.NodeProto]:
        name = node.input[2]
        key = (name, 0, scales.tobytes())
        if key not in self._written:
            integers = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
            data = self._add(f"{name}/quantized", integers.astype(np.int32))
            zeros = self._add(f"{name}/zero_point", np.zeros(scales.shape, np.int32))
            scale = self._add(f"{name}/scale", scales)
            yield self._dequantize([data, scale, zeros], self._remember(key, name), 0)
        node.input[2] = self._written[key]

    def _channel_parameters(self, name: str, axis: int | None, scales: Floats) -> list[str]:
        shape = [] if axis is None else [len(scales)]
        kind = TensorProto.FLOAT8E4M3FN if self.scheme is Scheme.FP8 else TensorProto.INT8
        zeros = helper.make_tensor(
            self.name(f"{name}/zero_point"), kind, shape, [0] * max(1, sum(shape))
        )
        self.graph.initializer.append(zeros)
        return [self._add(f"{name}/scale", scales.reshape(shape)), zeros.name]

    def _remember(self, key: tuple[str, int | None, bytes], name: str) -> str:
        self._written[key] = self.name(f"{name}/dequantized")
        return self._written[key]

    def _dequantize(
        self, inputs: list[str], output: str, axis: int | None = None
    ) -> onnx.NodeProto:
        name = self.name(f"{output}/DequantizeLinear")
        return helper.make_node("DequantizeLinear", inputs, [output], name, **_axis(axis))

    def _array(self, name: str) -> Floats:
        return numpy_helper.to_array(self.constants[name], self.folder)

    def _add(self, base: str, array: npt.NDArray[np.generic] | np.generic) -> str:
        tensor = numpy_helper.from_array(np.asarray(array), self.name(base))
        self.graph.initializer.append(tensor)
        return tensor.name


def _axis(axis: int | None) -> dict[str, Any]:
    return {} if axis is None else {"axis": axis}


def _channel_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """The dimension of the output channels in a weight; `None`: one scale for all of it."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if rank == 2 else None
