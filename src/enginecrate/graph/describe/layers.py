"""The precision of every node that multiplies, read from the graph's own types."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from enginecrate.graph.describe.cost import MULTIPLYING, layer_costs, multiplying_nodes
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.shapes import TensorType, tensor_types
from enginecrate.values import LayerPrecision, Precision

__all__ = ["layers_of"]

_FLOATS: dict[int, Precision] = {
    TensorProto.FLOAT16: Precision.FP16,
    TensorProto.BFLOAT16: Precision.BF16,
}
_FP8 = (
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
)


def layers_of(model: OnnxModel) -> tuple[LayerPrecision, ...]:
    """Every node of the main graph that multiplies, in the graph's order; macs for one sample.

    A node runs in INT8 or FP8 when both its factors come from a DequantizeLinear: backends join
    the three to one operation (TensorRT documentation, "Explicit Quantization"; onnxruntime,
    "Quantize ONNX Models", QDQ format). A float node runs in the type of its first factor.
    """
    types = tensor_types(model.proto, 1)  # datatypes do not depend on the batch
    producers = {name: node for node in model.proto.graph.node for name in node.output}
    nodes = multiplying_nodes(model.proto)
    return tuple(
        LayerPrecision(cost.node, cost.operator, _precision(node, types, producers), cost.macs)
        for cost, node in zip(layer_costs(model, types=types), nodes, strict=True)
    )


def _precision(
    node: onnx.NodeProto,
    types: Mapping[str, TensorType],
    producers: Mapping[str, onnx.NodeProto],
) -> Precision:
    _, indices = MULTIPLYING[node.op_type]
    factors = [node.input[index] for index in indices if index < len(node.input)]
    sources = [producers.get(name) for name in factors]
    if all(source is not None and source.op_type == "DequantizeLinear" for source in sources):
        factors = [source.input[0] for source in sources if source is not None]
    kinds = [types[name].kind if name in types else TensorProto.UNDEFINED for name in factors]
    if kinds[0] in _FP8:
        return Precision.FP8
    if kinds[0] in (TensorProto.INT8, TensorProto.UINT8):
        return Precision.INT8
    return _FLOATS.get(kinds[0], Precision.FP32)
