"""Checks that a graph is sound; messages name the place and the cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from pathlib import Path

import msgspec
import onnx

from enginecrate.errors import ModelInvalid, ModelTooCostly, ModelUnsupported, nearest
from enginecrate.graph.isolation.isolated import budget_for, run_isolated
from enginecrate.graph.onnx.checker import Findings
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.onnx.walk import model_nodes

__all__ = ["check_graph"]

_CHECKER = Findings.__module__

_MOST_NODES = 50_000
"""The largest exports of vision and language models have some 20,000, subgraphs included."""

_MOST_BORDERS = 4_096
"""Inputs, or outputs. Language models list one for each layer's keys and values."""


def check_graph(proto: onnx.ModelProto, path: Path, *, on_disk: bool = False) -> None:
    """Refuse a model whose graph cannot be run.

    ONNX's own checker and its shape inference run in a process with limits: what they survive
    there, they survive later.

    on_disk: check the file `path` instead of `proto`, since its weights were not read.

    Raises:
        ModelInvalid: with the first fault in the order of the graph.
        ModelUnsupported: it has more nodes, inputs or outputs than are read.
        ModelTooCostly: the checker or shape inference takes too much memory or time.
    """
    nodes = _count_nodes(proto)
    excess = _excess(proto, nodes)
    if excess:
        raise ModelUnsupported(f"{path}: {excess}; export a model that is cut into fewer pieces")
    fault = _graph_fault(proto.graph, frozenset(), "the graph") or _operator_fault(proto)
    if not proto.graph.output:
        fault = "the graph has no outputs; export the model with the tensors that it shall answer"
    if fault:
        raise ModelInvalid(f"{path}: {fault}")
    data = str(path.absolute()).encode() if on_disk else proto.SerializeToString()
    function = f"{_CHECKER}:{'check_file' if on_disk else 'check_bytes'}"
    result = run_isolated(function, data, budget_for(len(data), nodes), f"checking {path}")
    findings = msgspec.msgpack.decode(result, type=Findings)
    if findings.invalid:
        raise ModelInvalid(
            f"{path}: the ONNX checker refuses the model: {findings.invalid}; export it again"
        )
    if findings.costly:
        raise ModelTooCostly(
            f"{path}: {findings.costly}, far more than the model itself has; export it again so "
            "that they are made from its inputs, or are stored in it"
        )


def _count_nodes(proto: onnx.ModelProto) -> int:
    """The number of all nodes; stops soon after `_MOST_NODES`."""
    size = len(proto.graph.node)
    if size > _MOST_NODES:
        return size
    return sum(1 for _ in islice(model_nodes(proto), _MOST_NODES + 1))


def _excess(proto: onnx.ModelProto, nodes: int) -> str:
    if nodes > _MOST_NODES:
        return f"it has more than {_MOST_NODES:,} nodes, the most that is read"
    for what, infos in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
        # Up to IR version 3 every constant is listed as an input.
        count = len(infos) - (len(proto.graph.initializer) if what == "inputs" else 0)
        if count > _MOST_BORDERS:
            return f"it has {count:,} {what}; the most that is read is {_MOST_BORDERS:,}"
    return ""


def _graph_fault(graph: onnx.GraphProto, outer: frozenset[str], where: str) -> str:
    """The first fault, as a sentence with its cure; `""` when there is none."""
    inputs = [info.name for info in graph.input]
    constants = [tensor.name for tensor in graph.initializer]
    constants += [sparse.values.name for sparse in graph.sparse_initializer]
    for names, what in ((inputs, "input"), (constants, "constant")):
        twice = _twice(names)
        if twice:
            return f"{where} has two {what}s named {twice!r}; rename one and export the model again"
    known = set(outer).union(inputs, constants)
    local = set(inputs).union(constants)
    producers = {name: node for node in graph.node for name in node.output if name}
    for node in graph.node:
        fault = _node_fault(node, known, producers, graph, where)
        fault = fault or _output_fault(node, local, outer, where)
        if fault:
            return fault
        fault = _inner_fault(node, known)
        if fault:
            return fault
        local.update(filter(None, node.output))
        known.update(filter(None, node.output))
    return _missing_output(graph, known, where)


def _operator_fault(proto: onnx.ModelProto) -> str:
    """The first of ONNX's own operators that does not exist, or not yet in the model's opset."""
    opset = opset_of(proto)
    functions = {(function.domain, function.name) for function in proto.functions}
    for node in model_nodes(proto):
        own = node.domain in ("", "ai.onnx") and (node.domain, node.op_type) not in functions
        if not own or _exists(node.op_type, opset):
            continue
        if not onnx.defs.has(node.op_type):
            known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
            return (
                f"{_called(node)}: ONNX has no such operator{nearest(node.op_type, known)}; if it "
                "is an operator of your own, give it a domain; else export the model again"
            )
        first = min(
            schema.since_version
            for schema in onnx.defs.get_all_schemas_with_history()
            if schema.name == node.op_type and not schema.domain
        )
        return (
            f"{_called(node)} exists since opset {first}, and the model says opset {opset}; "
            f"export it with opset {first} or newer"
        )
    return ""


@cache
def _exists(operator: str, opset: int) -> bool:
    return bool(onnx.defs.has(operator, max_inclusive_version=opset))


def _twice(names: Iterable[str]) -> str:
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _node_fault(
    node: onnx.NodeProto,
    known: set[str],
    producers: dict[str, onnx.NodeProto],
    graph: onnx.GraphProto,
    where: str,
) -> str:
    for name in node.input:
        if not name or name in known:
            continue
        if name not in producers:
            return (
                f"{_called(node)} in {where} reads {name!r}, which is no input, no constant and "
                "no node's output; export the model again"
            )
        circle = _circle(graph)
        if circle:
            return (
                f"{where} has a circle: {' -> '.join(circle)}; a graph must run from inputs to "
                "outputs: remove the connection back, or export the model again"
            )
        return (
            f"the nodes of {where} are not in the order in which they run: {_called(node)} reads "
            f"{name!r}, which {_called(producers[name])} writes only later; sort the nodes (for "
            "example with onnx_graphsurgeon: graph.toposort()), or export the model again"
        )
    return ""


def _output_fault(node: onnx.NodeProto, local: set[str], outer: frozenset[str], where: str) -> str:
    own = [name for name in node.output if name]
    twice = next((name for name in own if name in local), "") or _twice(own)
    if twice:
        return (
            f"two places in {where} write {twice!r}, the second is {_called(node)}; a tensor has "
            "one writer: rename one of them and export the model again"
        )
    hidden = next((name for name in own if name in outer), "")
    if hidden:
        return (
            f"{_called(node)} in {where} writes {hidden!r}, and a tensor outside of it has that "
            "name; rename one of them and export the model again"
        )
    return ""


def _inner_fault(node: onnx.NodeProto, known: set[str]) -> str:
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else []
        for graph in (*graphs, *attribute.graphs):
            outer = frozenset(known)
            fault = _graph_fault(graph, outer, f"subgraph {attribute.name} of {_called(node)}")
            if fault:
                return fault
    return ""


def _missing_output(graph: onnx.GraphProto, known: set[str], where: str) -> str:
    names = [info.name for info in graph.output]
    twice = _twice(names)
    if twice:
        return f"{where} lists its output {twice!r} twice; remove one and export the model again"
    for name in names:
        if name not in known:
            return (
                f"no node writes the output {name!r} of {where}; the model may be cut short, "
                "or an output was renamed: export it again"
            )
    return ""


def _circle(graph: onnx.GraphProto) -> list[str]:
    """The nodes of a circle, the first one also last."""
    writers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needs = {
        index: {writers[name] for name in node.input if name in writers}
        for index, node in enumerate(graph.node)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as exc:
        return [_called(graph.node[index]) for index in exc.args[1]]
    return []


def _called(node: onnx.NodeProto) -> str:
    """A node as people find it: by name, or by its outputs."""
    if node.name:
        return f"{node.op_type} {node.name!r}"
    outputs = ", ".join(repr(name) for name in node.output)
    return f"the {node.op_type} that writes {outputs or 'nothing'}"
