"""A graph without its weights: light to copy, and never too large for protobuf."""

from __future__ import annotations

import math

import onnx
from onnx import helper

__all__ = ["without_weights"]

_SMALL = 1024
"""Constants of up to this many elements stay: shapes, axes, scales, scalars."""


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large constants of the main graph became inputs of the same name.

    Their datatypes and shapes are left, which is all that shape inference needs of them. They
    stand behind the model's own inputs, in the order of the constants.
    """
    light = onnx.ModelProto(ir_version=proto.ir_version)
    light.opset_import.extend(proto.opset_import)
    light.functions.extend(proto.functions)
    _copy_graph(proto.graph, light.graph)
    return light


def _copy_graph(graph: onnx.GraphProto, light: onnx.GraphProto) -> None:
    light.name = graph.name
    light.node.extend(graph.node)
    light.input.extend(graph.input)
    light.output.extend(graph.output)
    light.value_info.extend(graph.value_info)
    light.sparse_initializer.extend(graph.sparse_initializer)
    listed = {info.name for info in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _SMALL and not tensor.external_data:
            light.initializer.append(tensor)
        elif tensor.name not in listed:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.input.append(info)
