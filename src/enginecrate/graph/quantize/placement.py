"""The placement of quantise/dequantise pairs in a graph, decided without any values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, helper

from enginecrate.graph.onnx.shapes import TensorType, tensor_types
from enginecrate.graph.rewrite.tidy import captured_names

__all__ = ["Placement", "Surroundings", "attribute"]


@dataclass(slots=True)
class Placement:
    """The pairs of one graph.

    layers: names of the nodes that multiply in 8 bits: their first input and their weights are
        quantised.
    pairs: each quantised activation with the names of the nodes that read it dequantised; `None`:
        all nodes, and the caller when it is an output of the model.
    shared: activations that have the very scale of another one.
    absorbed: names of Relu and Clip nodes whose bounds the quantisation behind them may replace.
    constants: names of nodes whose constant inputs are quantised like activations.
    """

    layers: list[str] = field(default_factory=list)
    pairs: dict[str, set[str] | None] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    absorbed: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)

    def read_by(self, tensor: str, node: str) -> None:
        """Let one node read a tensor dequantised."""
        readers = self.pairs.setdefault(tensor, set())
        if readers is not None:
            readers.add(node)

    def needed(self) -> list[str]:
        """The activations whose ranges must be known, in the order in which they were placed."""
        return [name for name in self.pairs if name not in self.shared]


class Surroundings:
    """The facts of a graph that both placements need. Nodes have names that are unique."""

    def __init__(self, proto: onnx.ModelProto, exclude: Collection[str]) -> None:
        graph = proto.graph
        self.nodes = list(graph.node)
        self.exclude = frozenset(exclude)
        self.constants: Mapping[str, TensorProto] = _constants(graph)
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        # Whatever a subgraph or the caller reads keeps its name and is never optimised away.
        self.fixed = {info.name for info in graph.output} | captured_names(graph)
        self._types: Mapping[str, TensorType] = tensor_types(proto, None)

    def free(self, node: onnx.NodeProto) -> bool:
        """True when a node is one of ONNX's own and may be quantised."""
        return node.domain in ("", "ai.onnx") and node.name not in self.exclude

    def activation(self, name: str) -> bool:
        """True when a tensor is a FP32 one that depends on the model's input."""
        known = self._types.get(name)
        return bool(name) and name not in self.constants and _is_float(known)

    def weight(self, node: onnx.NodeProto, index: int = 1) -> TensorProto | None:
        """The constant FP32 input of a node at this index."""
        name = node.input[index] if index < len(node.input) else ""
        weight = self.constants.get(name)
        return weight if weight is not None and weight.data_type == TensorProto.FLOAT else None

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that reads a tensor, when it is the only reader."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.fixed else None


def attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    """The value of an attribute."""
    given = next((one for one in node.attribute if one.name == name), None)
    return default if given is None else helper.get_attribute_value(given)


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = next((one for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constants[node.output[0]] = value.t
    return constants


def _is_float(known: TensorType | None) -> bool:
    return known is not None and known.kind == TensorProto.FLOAT
