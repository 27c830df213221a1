"""The placement of quantise/dequantise pairs for TensorRT.

TensorRT documentation, "Explicit Quantization", section "Q/DQ Layer-Placement Recommendations":
quantise all inputs of weighted operations, not their outputs; do not simulate the fusion of
batch normalisation and ReLU; quantise the residual input of an element-wise addition, so that it
is fused with the convolution; scales per tensor for activations, per channel for weights.
"""

from __future__ import annotations

import onnx

from enginecrate.graph.quantize.placement import Placement, Surroundings

__all__ = ["place_for_tensorrt"]

_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_FP8_LAYERS = {"Conv", "Gemm", "MatMul"}
"""The same documentation, section "Quantized Data Types": no FP8 for transposed convolutions."""

_POOLS = {"AveragePool", "GlobalAveragePool"}
"""Computed in INT8 when their input is quantised; a pair moves through MaxPool by itself."""


def place_for_tensorrt(around: Surroundings, *, fp8: bool = False) -> Placement:
    """Decide where pairs stand in a graph."""
    placement = Placement()
    for node in around.nodes:
        if not around.free(node) or not node.input or not around.activation(node.input[0]):
            continue
        if node.op_type in (_FP8_LAYERS if fp8 else _LAYERS) and _weight_fits(node, around):
            placement.layers.append(node.name)
            placement.read_by(node.input[0], node.name)
        elif node.op_type in _POOLS and not fp8:
            placement.read_by(node.input[0], node.name)
        elif node.op_type == "Add" and not fp8:
            residual = _residual(node, around, placement)
            if residual:
                placement.read_by(residual, node.name)
    return placement


def _weight_fits(node: onnx.NodeProto, around: Surroundings) -> bool:
    weight = around.weight(node)
    return weight is not None and len(weight.dims) >= 2


def _residual(node: onnx.NodeProto, around: Surroundings, placement: Placement) -> str:
    """The input of an addition that is not the convolution which it is fused with."""
    inputs = list(node.input)
    if not all(around.activation(name) for name in inputs) or inputs[0] == inputs[1]:
        return ""
    fusible = [name for name in inputs if _from_layer(name, around, placement)]
    if not fusible:
        return ""
    # Where both come from convolutions, the later one is fused: its output is the newer.
    order = {name: place for place, node in enumerate(around.nodes) for name in node.output}
    newest = max(fusible, key=lambda name: order[name])
    return str(next(name for name in inputs if name != newest))


def _from_layer(name: str, around: Surroundings, placement: Placement) -> bool:
    producer = around.producer.get(name)
    return (
        producer is not None
        and producer.op_type in ("Conv", "ConvTranspose")
        and producer.name in placement.layers
        and around.only_reader(name) is not None
    )
