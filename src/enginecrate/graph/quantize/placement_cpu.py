"""The placement of quantise/dequantise pairs for onnxruntime on a CPU.

It joins `DequantizeLinear -> operator -> QuantizeLinear` to one 8-bit operator (onnxruntime
documentation, "Quantize ONNX Models", section "QDQ"; the operators are those of its
`qdq_selector_action_transformer`). A node between float nodes gains nothing from that, so only
those on the way from one multiplying node to the next are quantised.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from enginecrate.graph.quantize.placement import Placement, Surroundings, attribute

__all__ = ["clip_bounds", "place_for_cpu"]

_OWN_RANGE = {"Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"}
"""Have 8-bit kernels whose output has a scale of its own."""

_SAME_RANGE = {
    "Flatten",
    "MaxPool",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""Move values, and run on the 8-bit integers themselves: without loss, except for a linear
Resize, which rounds."""

_FLOAT_OUTPUT = {"Gemm", "MatMul"}
"""Have kernels with 8-bit inputs and a float output."""


def place_for_cpu(around: Surroundings) -> Placement:
    """Decide where pairs stand in a graph."""
    return _CpuPlacement(around).run()


def clip_bounds(node: onnx.NodeProto, around: Surroundings) -> tuple[float, float] | None:
    """The bounds of a Relu or Clip; `None` for other nodes, and where they are not constant."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if node.op_type != "Clip":
        return None
    bounds = [attribute(node, "min", float("-inf")), attribute(node, "max", float("inf"))]
    for index, name in enumerate(node.input[1:3]):
        if name and name not in around.constants:
            return None
        if name:
            bounds[index] = float(numpy_helper.to_array(around.constants[name]).reshape(-1)[0])
    return float(bounds[0]), float(bounds[1])  # type: ignore[arg-type]


class _CpuPlacement:
    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._placement = Placement()
        self._layers = {node.name for node in around.nodes if self._is_layer(node)}
        self._leads_on = self._leading_to_layers()

    def run(self) -> Placement:
        for node in self._around.nodes:
            if node.name in self._layers:
                self._place_layer(node)
            elif not self._around.free(node):
                continue
            elif node.op_type in _OWN_RANGE and node.name in self._leads_on:
                self._place_own_range(node)
            elif node.op_type in _SAME_RANGE and node.input[0] in self._placement.pairs:
                self._place_same_range(node)
        return self._placement

    def _is_layer(self, node: onnx.NodeProto) -> bool:
        around = self._around
        if node.op_type not in ("Conv", "Gemm", "MatMul") or not around.free(node):
            return False
        weight = around.weight(node)
        if weight is None or not around.activation(node.input[0]):
            return False
        if node.op_type == "MatMul":
            return len(weight.dims) == 2
        plain = node.op_type == "Conv" or _plain_gemm(node)
        return plain and self._bias_fits(node, weight)

    def _bias_fits(self, node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
        """True when there is no bias, or a constant one with a number for each output channel."""
        if len(node.input) < 3 or not node.input[2]:
            return True
        bias = self._around.weight(node, 2)
        turned = node.op_type == "Conv" or attribute(node, "transB", 0)
        return bias is not None and list(bias.dims) == [weight.dims[0 if turned else 1]]

    def _leading_to_layers(self) -> set[str]:
        """Names of the nodes behind which a layer still comes."""
        names: set[str] = set()
        for node in reversed(self._around.nodes):
            readers = [
                reader for name in node.output for reader in self._around.readers.get(name, [])
            ]
            if any(reader.name in self._layers or reader.name in names for reader in readers):
                names.add(node.name)
        return names

    def _place_layer(self, node: onnx.NodeProto) -> None:
        self._placement.layers.append(node.name)
        self._placement.read_by(node.input[0], node.name)
        if node.op_type not in _FLOAT_OUTPUT or node.name in self._leads_on:
            self._place_output(node)

    def _place_own_range(self, node: onnx.NodeProto) -> None:
        around, placement = self._around, self._placement
        constant = [name for name in node.input if name in around.constants]
        others = [name for name in node.input if name not in around.constants]
        if not any(name in placement.pairs for name in others):
            return
        if not all(map(around.activation, others)) or not self._constants_fit(node, constant):
            return
        for name in others:
            placement.read_by(name, node.name)
        if constant:
            placement.constants.append(node.name)
        self._place_output(node)

    def _constants_fit(self, node: onnx.NodeProto, names: list[str]) -> bool:
        kinds = {self._around.constants[name].data_type for name in names}
        return not names or (node.op_type in ("Add", "Mul") and kinds == {onnx.TensorProto.FLOAT})

    def _place_same_range(self, node: onnx.NodeProto) -> None:
        source = node.input[0]
        outputs = [name for name in node.output if name]
        if not all(map(self._around.activation, outputs)):  # MaxPool may also give indices
            return
        self._placement.read_by(source, node.name)
        for name in outputs:
            self._placement.pairs[name] = None
            self._placement.shared[name] = self._placement.shared.get(source, source)

    def _place_output(self, node: onnx.NodeProto) -> None:
        """Quantise what a node writes: behind its Relu or Clip, where it has one."""
        output = node.output[0]
        reader = self._around.only_reader(output)
        if reader is not None and self._around.free(reader):
            bounds = clip_bounds(reader, self._around)
            if bounds is not None and bounds[0] <= 0 <= bounds[1]:
                self._placement.absorbed.append(reader.name)
                output = reader.output[0]
        self._placement.pairs[output] = None


def _plain_gemm(node: onnx.NodeProto) -> bool:
    """True when a Gemm only multiplies by its weight and adds its bias."""
    return (
        attribute(node, "alpha", 1.0) == 1.0
        and attribute(node, "beta", 1.0) == 1.0
        and not attribute(node, "transA", 0)
    )
