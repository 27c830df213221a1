"""Small exact rewrites: remove what computes nothing or is never used."""

from __future__ import annotations

import onnx

from enginecrate.graph.walk import graph_nodes

__all__ = ["captured_names", "hoist_constants", "remove_unused"]


def captured_names(graph: onnx.GraphProto) -> set[str]:
    """Names that subgraphs mention, and which may therefore mean tensors of the main graph."""
    names: set[str] = set()
    for node in graph_nodes(graph):
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                names.update(name for nested in inner.node for name in nested.input)
                names.update(info.name for info in inner.output)
    return names


def hoist_constants(graph: onnx.GraphProto) -> None:
    """Turn the main graph's Constant nodes that hold a dense tensor into initialisers, in place."""
    kept = []
    outputs = {info.name for info in graph.output}
    for node in graph.node:
        value = next((one for one in node.attribute if one.name == "value"), None)
        if node.op_type != "Constant" or value is None or node.output[0] in outputs:
            kept.append(node)
            continue
        tensor = graph.initializer.add()
        tensor.CopyFrom(value.t)
        tensor.name = node.output[0]
    _set_nodes(graph, kept)


def remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads, and then unread constants, in place."""
    used = {info.name for info in graph.output} | captured_names(graph)
    kept = []
    for node in reversed(graph.node):
        if any(name in used for name in node.output):
            used.update(node.input)
            kept.append(node)
    _set_nodes(graph, list(reversed(kept)))
    listed = {info.name for info in graph.input}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in used | listed:
            del graph.initializer[place]


def _set_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    if len(nodes) != len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
