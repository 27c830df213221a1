"""The obstacles in a model: nodes that a backend does not take, the reasons and the cures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import msgspec
import onnx
from onnx import TensorProto

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.onnx.shapes import TensorType, tensor_types
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.onnx.specs import real_inputs
from enginecrate.graph.onnx.walk import graph_nodes, graph_tensors
from enginecrate.graph.onnx.weights import without_weights
from enginecrate.graph.support.operators import CURES, UNSUPPORTED_OPERATORS
from enginecrate.graph.support.rules import (
    BACKENDS,
    DATATYPES,
    OPSETS,
    RULES,
    DatatypeRule,
    Level,
    NodeView,
    Rule,
)

__all__ = ["Obstacle", "obstacles"]

_GENERAL_CURE = "express it with other ONNX operators when you export the model"
_KNOWN_DOMAINS = {"", "ai.onnx"}
_RUNTIME_DOMAINS = _KNOWN_DOMAINS | {"ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"}
_MOST_DIMENSIONS = 8


class Obstacle(msgspec.Struct, frozen=True):
    """Something that a backend does not take, or that is worth knowing before it does.

    backend: with its version where that matters, for example `tensorrt-8.6`.
    level: `refused`: no plan can be built; `caution`: it can, but see why.
    nodes: names of the nodes, inputs and outputs of the model.
    operator: of all these nodes; empty when it is about a datatype or the opset.
    """

    backend: str
    level: Level
    operator: str
    nodes: tuple[str, ...]
    why: str
    cure: str


def obstacles(model: OnnxModel) -> tuple[Obstacle, ...]:
    """All that the rules find, by backend, in the order of the graph.

    The rules are a forecast from documents and trials: the backend itself has the last word.
    Nodes of one operator with the same obstacle are told together.
    """
    proto = without_weights(model.proto)
    name_nodes(proto)
    around = _Around(
        proto,
        (*real_inputs(model.proto), *model.proto.graph.output),
        tensor_types(proto, 1),
        {tensor.name: tensor for tensor in graph_tensors(model.proto.graph) if tensor.name},
    )
    groups: dict[tuple[str, Level, str, str, str], dict[str, None]] = {}
    for backend in BACKENDS:
        for level, operator, node, why, cure in _obstacles(around, backend):
            names = groups.setdefault((backend, level, operator, why, cure), {})
            if node:
                names[node] = None
    return tuple(
        Obstacle(backend, level, operator, tuple(names), why, cure)
        for (backend, level, operator, why, cure), names in groups.items()
    )


@dataclass(frozen=True, slots=True)
class _Around:
    """A model without its weights, its inputs and outputs, its tensors' types, its constants."""

    proto: onnx.ModelProto
    borders: tuple[onnx.ValueInfoProto, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, TensorProto]


_Found = tuple[Level, str, str, str, str]


def _obstacles(around: _Around, backend: str) -> Iterator[_Found]:
    proto = around.proto
    yield from _opset(proto, backend)
    yield from _borders(around.borders, backend)
    functions = {function.domain for function in proto.functions}
    for node in graph_nodes(proto.graph):
        if node.domain in _KNOWN_DOMAINS:
            view = NodeView(node, around.types, around.constants)
            yield from _known_operator(view, backend)
        else:
            yield from _foreign_operator(node, functions, backend)


def _opset(proto: onnx.ModelProto, backend: str) -> Iterator[_Found]:
    oldest, newest = OPSETS[backend]
    opset = opset_of(proto)
    if opset < oldest:
        why = f"opset {opset} is older than {oldest}, the oldest that is promised to work"
        yield "caution", "", "", why, "export the model with a newer opset"
    if newest is not None and opset > newest:
        why = f"opset {opset} is newer than {newest}, the newest that it knows"
        yield "caution", "", "", why, f"export the model with opset {newest}"


def _borders(infos: Iterable[onnx.ValueInfoProto], backend: str) -> Iterator[_Found]:
    for info in infos:
        kind = info.type.tensor_type.elem_type
        for rule in _datatype_rules(kind, backend, "borders"):
            yield rule.level, "", info.name, f"{_name(kind)} {rule.why}", rule.cure
        if len(info.type.tensor_type.shape.dim) > _MOST_DIMENSIONS and backend != "onnxruntime":
            why = f"it has more than {_MOST_DIMENSIONS} dimensions"
            yield "refused", "", info.name, why, "join dimensions when you export the model"


def _known_operator(view: NodeView, backend: str) -> Iterator[_Found]:
    node = view.node
    if node.op_type in UNSUPPORTED_OPERATORS[backend]:
        cure = CURES.get(node.op_type, _GENERAL_CURE)
        yield "refused", node.op_type, node.name, "this operator is not supported", cure
        return
    for rule in _rules(node.op_type, backend):
        if rule.applies(view):
            yield rule.level, node.op_type, node.name, rule.why, rule.cure
    kinds = dict.fromkeys(
        view.types[name].kind for name in (*node.input, *node.output) if name in view.types
    )
    for kind in kinds:
        for datatype in _datatype_rules(kind, backend, "inside"):
            if node.op_type not in datatype.passing:
                yield datatype.level, "", node.name, f"{_name(kind)} {datatype.why}", datatype.cure


def _foreign_operator(node: onnx.NodeProto, functions: set[str], backend: str) -> Iterator[_Found]:
    operator = f"{node.domain}.{node.op_type}"
    if node.domain in functions:
        if backend == "tensorrt-8.6":
            why = "functions of the model itself are not supported"
            yield "refused", operator, node.name, why, "export the model with functions inlined"
        return
    if backend == "onnxruntime" and node.domain in _RUNTIME_DOMAINS:
        return
    why = f"the operator is not one of ONNX's own, but of the domain {node.domain}"
    cure = (
        _GENERAL_CURE
        if backend == "onnxruntime"
        else f"{_GENERAL_CURE}, or provide a plugin for it"
    )
    yield "refused", operator, node.name, why, cure


@cache
def _rules(operator: str, backend: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if operator in rule.operators and backend in rule.backends)


@cache
def _datatype_rules(kind: int, backend: str, where: str) -> tuple[DatatypeRule, ...]:
    return tuple(
        rule
        for rule in DATATYPES
        if kind in rule.kinds and backend in rule.backends and where in rule.where
    )


def _name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind))
