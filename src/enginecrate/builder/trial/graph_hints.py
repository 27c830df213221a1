"""The parts of a graph that decide what its answers must keep."""

from __future__ import annotations

import onnx

from enginecrate.graph.onnx.walk import model_nodes

__all__ = ["ends_in_softmax", "suppresses"]

_SUPPRESSION = ("NonMaxSuppression", "NMS", "DetectionOutput")
"""Parts of the names of operators that drop boxes, in ONNX and in others' domains."""

_PASSING = {"Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape",
            "Squeeze", "Unsqueeze"}  # fmt: skip
"""Operators that leave numbers as they are, but for rounding."""


def suppresses(proto: onnx.ModelProto) -> bool:
    """True when the graph itself drops boxes, so that it may well find nothing."""
    return any(part in node.op_type for node in model_nodes(proto) for part in _SUPPRESSION)


def ends_in_softmax(proto: onnx.ModelProto) -> bool:
    """True when every output of the graph comes out of a Softmax."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    return bool(proto.graph.output) and all(
        _maker(makers, value.name) == "Softmax" for value in proto.graph.output
    )


def _maker(makers: dict[str, onnx.NodeProto], name: str) -> str:
    """The operator that makes a value, apart from those that only pass it on."""
    node = makers.get(name)
    while node is not None and node.op_type in _PASSING and node.input:
        node = makers.get(node.input[0])
    return node.op_type if node is not None else ""
