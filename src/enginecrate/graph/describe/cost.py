"""The cost of a model: multiply-adds, operations and bytes moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
import onnx

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.shapes import TensorType, bits_of, tensor_types

__all__ = [
    "MULTIPLYING",
    "LayerCost",
    "ModelCost",
    "layer_costs",
    "model_cost",
    "multiplying_nodes",
    "weight_bytes",
]

Shape = tuple[int, ...]
Types = Mapping[str, TensorType]


class LayerCost(msgspec.Struct, frozen=True):
    """The cost of one node that multiplies, for a whole batch.

    macs: multiply-adds; 0 when a shape is unknown, and then `note` says so.
    flops: two for each multiply-add (bias not counted).
    bytes: inputs, weights and outputs, each read or written once.
    """

    node: str
    operator: str
    macs: int
    flops: int
    bytes: int
    note: str = ""


class ModelCost(msgspec.Struct, frozen=True):
    """The cost of a whole model for one batch.

    macs, flops: of all nodes that multiply.
    bytes: moved when every node reads its inputs and weights and writes its outputs once; a
        backend that fuses nodes moves less.
    largest: bytes of the largest tensor that a node writes.
    unknown: nodes that were left out, since a shape is unknown or they are in a subgraph.
    """

    batch: int
    macs: int
    flops: int
    bytes: int
    largest: int
    unknown: tuple[str, ...] = ()


def layer_costs(
    model: OnnxModel, batch: int = 1, types: Types | None = None
) -> tuple[LayerCost, ...]:
    """The nodes of the main graph that multiply, in the graph's order.

    types: of the tensors at this batch, from whoever has inferred them already.
    """
    return _layers(model.proto, tensor_types(model.proto, batch) if types is None else types)


def model_cost(model: OnnxModel, batches: Iterable[int] = (1,)) -> tuple[ModelCost, ...]:
    """The cost of the model for each of these batches."""
    return tuple(_total(model.proto, batch) for batch in batches)


def multiplying_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes that `layer_costs` lists, in its order."""
    for node in proto.graph.node:
        if node.op_type in MULTIPLYING and node.domain in ("", "ai.onnx"):
            yield node


def weight_bytes(proto: onnx.ModelProto) -> int:
    """Size of the main graph's constants in memory."""
    tensors = proto.graph.initializer
    return sum((math.prod(one.dims) * bits_of(one.data_type) + 7) // 8 for one in tensors)


def _layers(proto: onnx.ModelProto, types: Types) -> tuple[LayerCost, ...]:
    return tuple(_layer(node, types) for node in multiplying_nodes(proto))


def _layer(node: onnx.NodeProto, types: Types) -> LayerCost:
    count, indices = MULTIPLYING[node.op_type]
    names = [node.input[index] for index in indices if index < len(node.input)]
    shapes = [_shape(types, name) for name in (*names, node.output[0])]
    moved = _moved(node, types)
    if None in shapes or moved is None:
        note = "its cost is unknown: ONNX's shape inference does not find all its shapes"
        return LayerCost(node.name, node.op_type, 0, 0, moved or 0, note)
    macs = count(node, [shape for shape in shapes if shape is not None])
    return LayerCost(node.name, node.op_type, macs, 2 * macs, moved)


def _shape(types: Types, name: str) -> Shape | None:
    known = types.get(name)
    return known.shape if known else None


def _moved(node: onnx.NodeProto, types: Types) -> int | None:
    """Bytes of all inputs and outputs; `None` when one is unknown."""
    sizes = [
        types[name].bytes if name in types else None
        for name in dict.fromkeys((*node.input, *node.output))
        if name
    ]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _total(proto: onnx.ModelProto, batch: int) -> ModelCost:
    types = tensor_types(proto, batch)
    layers = _layers(proto, types)
    moved, largest, unknown = 0, 0, []
    for node in proto.graph.node:
        size = _moved(node, types)
        nested = any(attribute.HasField("g") for attribute in node.attribute)
        if size is None or nested:
            unknown.append(node.name or node.op_type)
        moved += size or 0
        written = [types[name].bytes or 0 for name in node.output if name in types]
        largest = max([largest, *written])
    macs = sum(layer.macs for layer in layers)
    return ModelCost(batch, macs, 2 * macs, moved, largest, tuple(unknown))


def _conv(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    _, weight, output = shapes
    return math.prod(output) * math.prod(weight[1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    data, weight, _ = shapes
    return math.prod(data) * math.prod(weight[1:])


def _gemm(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    left, _, output = shapes
    turned = next((one.i for one in node.attribute if one.name == "transA"), 0)
    return math.prod(output) * left[0 if turned else 1]


def _matmul(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    left, _, output = shapes
    return math.prod(output) * left[-1]


def _einsum(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    """The product of all indices' sizes, as if it were computed in one loop nest."""
    text = next(one.s for one in node.attribute if one.name == "equation").decode()
    terms = text.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        named = term.replace("...", "")
        before = term.find("...") if "..." in term else len(named)
        extra = len(shape) - len(named)
        sizes |= {f".{index}": size for index, size in enumerate(shape[before : before + extra])}
        sizes |= dict(zip(named, shape[:before] + shape[before + extra :], strict=False))
    return math.prod(sizes.values())


MULTIPLYING: dict[str, tuple[Callable[[onnx.NodeProto, Sequence[Shape]], int], tuple[int, ...]]] = {
    "Conv": (_conv, (0, 1)),
    "ConvInteger": (_conv, (0, 1)),
    "ConvTranspose": (_conv_transpose, (0, 1)),
    "Einsum": (_einsum, (0, 1)),
    "Gemm": (_gemm, (0, 1)),
    "MatMul": (_matmul, (0, 1)),
    "MatMulInteger": (_matmul, (0, 1)),
    "QLinearConv": (_conv, (0, 3)),
    "QLinearMatMul": (_matmul, (0, 3)),
}
"""The multiply-adds of an operator as a function of the shapes of two inputs and the output, and
the indices of these inputs."""
