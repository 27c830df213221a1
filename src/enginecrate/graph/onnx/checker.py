"""ONNX's own checker and shape inference, as the isolated process calls them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import onnx

from enginecrate.graph.onnx.weights import without_weights

__all__ = ["Findings", "check_bytes", "check_file"]

_CONTEXT = "\n\n==> Context: "
_CONSTANT_BYTES, _CONSTANT_FACTOR = 256 * 2**20, 16


class Findings(msgspec.Struct, frozen=True):
    """The objections to a model, each a part of a sentence; empty when there is none.

    invalid: of the checker. costly: of constants that are far larger than the model.
    """

    invalid: str = ""
    costly: str = ""


def check_bytes(data: bytes) -> bytes:
    """Check a model that has its weights.

    Args:
        data: of a `ModelProto`.

    Returns:
        `Findings` as MessagePack.
    """
    proto = onnx.ModelProto.FromString(data)
    return msgspec.msgpack.encode(_findings(proto, proto, len(data)))


def check_file(data: bytes) -> bytes:
    """As `check_bytes`, for the path of a model with its weights in other files."""
    path = data.decode()
    proto = onnx.load(path, load_external_data=False)
    return msgspec.msgpack.encode(_findings(path, proto, onnx.checker.MAXIMUM_PROTOBUF))


def _findings(checked: onnx.ModelProto | str, proto: onnx.ModelProto, size: int) -> Findings:
    try:
        onnx.checker.check_model(checked)
    except (onnx.checker.ValidationError, ValueError) as exc:
        return Findings(invalid=" ".join(str(exc).replace(_CONTEXT, " ").split()))
    try:
        inferred = onnx.shape_inference.infer_shapes(without_weights(proto), data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return Findings()  # a graph of which shapes cannot be known may still run
    most = _CONSTANT_BYTES + _CONSTANT_FACTOR * size
    for node, elements in _made_constants(proto.graph, inferred.graph):
        if elements > most:
            return Findings(
                costly=f"{node.op_type} {node.name or node.output[0]!r} makes {elements:,} numbers "
                "out of constants alone"
            )
    return Findings()


def _made_constants(
    graph: onnx.GraphProto, inferred: onnx.GraphProto
) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Nodes of the main graph that depend on no input, and how many numbers they make."""
    elements = {
        info.name: math.prod(dim.dim_value for dim in info.type.tensor_type.shape.dim)
        for info in (*inferred.value_info, *inferred.output)
        if info.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in info.type.tensor_type.shape.dim)
    }
    constant = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if constant.issuperset(node.input):
            constant.update(node.output)
            yield node, max((elements.get(name, 0) for name in node.output), default=0)
