"""The operators that decide about the outputs of a model: what its last layers do.

An output is followed back through operators that only move numbers about (Reshape, Transpose,
Concat and others of their kind) to those that make them. Exporters also write activations out in
small steps (`exp(x) / sum(exp(x))`), which are recognised, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import onnx

__all__ = ["OutputHead", "OutputKind", "output_heads"]

OutputKind = Literal[
    "softmax", "log_softmax", "sigmoid", "tanh", "unit_length", "index", "suppressed", "plain"
]

_MOVING = frozenset(
    {
        "BatchToSpace", "Cast", "CastLike", "Compress", "Concat", "DepthToSpace",
        "DequantizeLinear", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
        "GatherND", "Identity", "Pad", "QuantizeLinear", "Reshape", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""They move numbers about, or change their type. Their first input has the numbers."""

_KINDS: Mapping[str, OutputKind] = {
    "ArgMax": "index",
    "ArgMin": "index",
    "HardSigmoid": "sigmoid",
    "Hardmax": "softmax",
    "LogSoftmax": "log_softmax",
    "LpNormalization": "unit_length",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Tanh": "tanh",
}

_SUPPRESSING = ("NonMaxSuppression", "NMS", "DetectionOutput", "_nms")
"""Parts of the names of operators that drop boxes, in ONNX and in others' domains."""

_RANKING = ("TopK",)

_STEPS = _MOVING | {"Add", "Clip", "Max", "Reciprocal", "Sqrt"}
"""What may stand between a sum and the division by it."""

_STEPS_FOR_A_NODE = 4
"""Outputs that share a long end are followed one by one; this bounds the cost for many of them."""

_MOST_STEPS = 100
"""Steps that are followed through one activation."""

_CONSTANT = ("Constant", "ConstantOfShape")


@dataclass(frozen=True, slots=True)
class OutputHead:
    """The end of a model that leads to one output.

    operators: that make its numbers, each once, nearest first.
    kind: what they do together; `plain` when they are none of the known ones, or differ.
    suppressed: overlapping boxes were suppressed on the way to it.
    ranked: a TopK chose among candidates on the way to it.
    """

    name: str
    operators: tuple[str, ...]
    kind: OutputKind
    suppressed: bool
    ranked: bool


def output_heads(proto: onnx.ModelProto) -> dict[str, OutputHead]:
    """The heads of a model by the names of its outputs. Runs nothing; its cost is linear."""
    graph = _Graph.of(proto.graph)
    suppressed = _behind(proto, _SUPPRESSING)
    ranked = _behind(proto, _RANKING)
    steps = iter(range(_STEPS_FOR_A_NODE * len(proto.graph.node) + _MOST_STEPS))
    heads = {}
    for info in proto.graph.output:
        ends = list(_ends(info.name, graph, steps))
        kinds = {kind for _, kind in ends}
        operators = tuple(dict.fromkeys(operator for operator, _ in ends))
        kind: OutputKind = kinds.pop() if len(kinds) == 1 else "plain"
        heads[info.name] = OutputHead(
            info.name, operators, kind, info.name in suppressed, info.name in ranked
        )
    return heads


@dataclass(frozen=True, slots=True)
class _Graph:
    """producers: the node that writes a tensor. outer: the graph around this subgraph."""

    producers: Mapping[str, onnx.NodeProto]
    constants: frozenset[str]
    outer: _Graph | None = None

    @classmethod
    def of(cls, graph: onnx.GraphProto, outer: _Graph | None = None) -> _Graph:
        producers = {name: node for node in graph.node for name in node.output if name}
        constants = {tensor.name for tensor in graph.initializer}
        constants.update(name for name, node in producers.items() if node.op_type in _CONSTANT)
        return cls(producers, frozenset(constants), outer)

    def producer(self, name: str) -> tuple[onnx.NodeProto, _Graph] | None:
        """The node that writes a tensor, and the graph that it stands in."""
        graph: _Graph | None = self
        while graph is not None:
            if name in graph.producers:
                return graph.producers[name], graph
            graph = graph.outer
        return None

    def is_constant(self, name: str) -> bool:
        return name in self.constants or (self.outer is not None and self.outer.is_constant(name))

    def source(self, name: str, through: frozenset[str] = _MOVING) -> str:
        """The tensor that this one is a copy of, but for its shape and its type."""
        for _ in range(_MOST_STEPS):
            found = self.producer(name)
            if found is None or found[0].op_type not in through:
                break
            name = next((one for one in found[0].input if not self.is_constant(one)), "")
        return name


def _ends(output: str, graph: _Graph, steps: Iterator[int]) -> Iterator[tuple[str, OutputKind]]:
    """The operators that make the numbers of an output, and what each does.

    steps: as many as may still be taken, for all outputs together.
    """
    pending: list[tuple[str, _Graph]] = [(output, graph)]
    seen: set[tuple[str, int]] = set()
    while pending and next(steps, None) is not None:
        name, inside = pending.pop()
        if not name or (name, id(inside)) in seen:
            continue
        seen.add((name, id(inside)))
        found = inside.producer(name)
        if found is None:
            if not inside.is_constant(name):
                yield "input", "plain"
            continue
        node, where = found
        if node.op_type in _CONSTANT:
            continue
        if branches := list(_branches(node, name)):
            pending.extend((inner, _Graph.of(body, where)) for body, inner in branches)
        elif node.op_type in _MOVING:
            count = len(node.input) if node.op_type == "Concat" else 1
            pending.extend((one, where) for one in reversed(node.input[:count]))
        else:
            yield _decision(node, where)


def _branches(node: onnx.NodeProto, output: str) -> Iterator[tuple[onnx.GraphProto, str]]:
    """The subgraphs of an If, and in each the tensor that becomes this output."""
    if node.op_type != "If":
        return
    index = list(node.output).index(output)
    for attribute in node.attribute:
        if attribute.HasField("g") and index < len(attribute.g.output):
            yield attribute.g, attribute.g.output[index].name


def _decision(node: onnx.NodeProto, graph: _Graph) -> tuple[str, OutputKind]:
    if any(part in node.op_type for part in _SUPPRESSING):
        return node.op_type, "suppressed"
    if node.op_type in _KINDS:
        return node.op_type, _KINDS[node.op_type]
    return _written_out(node, graph) or (node.op_type, "plain")


def _written_out(node: onnx.NodeProto, graph: _Graph) -> tuple[str, OutputKind] | None:
    """An activation that is written in small steps."""
    if node.op_type == "Reciprocal" and _is_one_plus_exp(node.input[0], graph):
        return "1 / (1 + Exp)", "sigmoid"
    if node.op_type == "Exp" and _is_log_softmax(node.input[0], graph):
        return "Exp of LogSoftmax", "softmax"
    if len(node.input) != 2:
        return None
    left, right = node.input
    if node.op_type == "Div":
        if graph.is_constant(left) and _is_one_plus_exp(right, graph):
            return "1 / (1 + Exp)", "sigmoid"
        return _quotient(left, right, graph)
    if node.op_type == "Mul":
        return _quotient(left, right, graph) or _quotient(right, left, graph)
    if node.op_type == "Log" or (node.op_type == "Sub" and _is_log_sum(right, graph)):
        return "x - log of sums of Exp", "log_softmax"
    return None


def _quotient(left: str, right: str, graph: _Graph) -> tuple[str, OutputKind] | None:
    """`x / sum(x)` of exponentials, and `x / length(x)`."""
    found = graph.producer(graph.source(right, _STEPS))
    if found is None or not found[0].op_type.startswith("Reduce"):
        return None
    reduce, inside = found
    numbers = inside.source(reduce.input[0])
    numerator = graph.source(left)
    if reduce.op_type == "ReduceL2" and numbers == numerator:
        return "x / ReduceL2", "unit_length"
    if reduce.op_type == "ReduceSumSquare" and numbers == numerator:
        return "x / Sqrt of ReduceSumSquare", "unit_length"
    if reduce.op_type != "ReduceSum":
        return None
    summed = inside.producer(numbers)
    if numbers == numerator and summed is not None and summed[0].op_type == "Exp":
        return "Exp / ReduceSum", "softmax"
    if summed is not None and summed[0].op_type in ("Mul", "Pow"):
        squared = {inside.source(one) for one in summed[0].input if not inside.is_constant(one)}
        if squared == {numerator}:
            return "x / Sqrt of ReduceSum of squares", "unit_length"
    return None


def _is_one_plus_exp(name: str, graph: _Graph) -> bool:
    found = graph.producer(graph.source(name))
    if found is None or found[0].op_type != "Add":
        return False
    sources = [found[1].producer(found[1].source(one)) for one in found[0].input]
    return any(one is not None and one[0].op_type == "Exp" for one in sources)


def _is_log_sum(name: str, graph: _Graph) -> bool:
    found = graph.producer(graph.source(name))
    if found is None:
        return False
    node, inside = found
    if node.op_type == "ReduceLogSumExp":
        return True
    summed = inside.producer(inside.source(node.input[0])) if node.op_type == "Log" else None
    return summed is not None and summed[0].op_type == "ReduceSum"


def _is_log_softmax(name: str, graph: _Graph) -> bool:
    found = graph.producer(graph.source(name))
    return found is not None and _decision(found[0], found[1])[1] == "log_softmax"


def _behind(proto: onnx.ModelProto, parts: Sequence[str]) -> set[str]:
    """The tensors that operators with such a name had a part in."""
    functions: set[str] = set()
    for function in proto.functions:  # they stand in the order in which they call one another
        if any(_holds(node, parts, functions) for node in function.node):
            functions.add(function.name)
    reached: set[str] = set()
    for node in proto.graph.node:
        if not reached.isdisjoint(node.input) or _holds(node, parts, functions):
            reached.update(node.output)
    return reached


def _holds(node: onnx.NodeProto, parts: Sequence[str], functions: Set[str]) -> bool:
    """True when a node is one of the operators, calls one, or has one in its subgraphs."""
    if node.op_type in functions or any(part in node.op_type for part in parts):
        return True
    return any(
        _holds(inner, parts, functions)
        for attribute in node.attribute
        if attribute.HasField("g")
        for inner in attribute.g.node
    )
