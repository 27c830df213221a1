"""Small exact rewrites: remove what computes nothing or is never used."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from enginecrate.graph.onnx.walk import graph_nodes

__all__ = ["captured_names", "free_constants", "remove_unused"]

_IR_OF_FREE_INITIALISERS = 4
"""ONNX, docs/IR.md, "Graphs"."""


def captured_names(graph: onnx.GraphProto) -> set[str]:
    """Names that subgraphs mention, and which may therefore mean tensors of the main graph."""
    names: set[str] = set()
    for node in graph_nodes(graph):
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names.update(name for nested in inner.node for name in nested.input)
                names.update(info.name for info in inner.output)
    return names


def free_constants(proto: onnx.ModelProto) -> None:
    """Make constants of the main graph what they are: no inputs, and no nodes. In place.

    Up to IR version 3 every initialiser had to be listed as an input, and later such a listing
    lets callers replace it, which forbids folding; none can be replaced here. Constant nodes
    become initialisers, but for sparse ones and texts.
    """
    proto.ir_version = max(proto.ir_version, _IR_OF_FREE_INITIALISERS)
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in constants:
            del graph.input[index]
    outputs = {info.name for info in graph.output}
    kept = []
    for node in graph.node:
        tensor = _constant(node)
        if tensor is None or node.output[0] in outputs:
            kept.append(node)
            continue
        made = graph.initializer.add()
        made.CopyFrom(tensor)
        made.name = node.output[0]
    _set_nodes(graph, kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node (ONNX operators, Constant)."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            given: onnx.TensorProto = attribute.t
            return given
        if attribute.name in ("value_float", "value_floats"):
            numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            return numpy_helper.from_array(np.asarray(numbers, np.float32))
        if attribute.name in ("value_int", "value_ints"):
            whole = attribute.i if attribute.name == "value_int" else list(attribute.ints)
            return numpy_helper.from_array(np.asarray(whole, np.int64))
    return None


def remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs are not read, and then unread constants, in place."""
    used = {info.name for info in graph.output} | captured_names(graph)
    kept = []
    for node in reversed(graph.node):
        if any(name in used for name in node.output):
            used.update(node.input)
            kept.append(node)
    _set_nodes(graph, list(reversed(kept)))
    listed = {info.name for info in graph.input}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used | listed:
            del graph.initializer[index]


def _set_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    if len(nodes) != len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
