"""FP16 and BF16 as part of the graph: casts, where they are safe."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.cast.choice import choose
from enginecrate.graph.cast.lowering import lower
from enginecrate.graph.describe.layers import layers_of
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.onnx.shapes import tensor_types
from enginecrate.graph.onnx.signatures import float_indices, opset_of
from enginecrate.graph.rewrite.opset import at_least_opset
from enginecrate.graph.rewrite.tidy import free_constants
from enginecrate.graph.typed import TypedGraph, precision_of
from enginecrate.values import Precision

__all__ = ["cast", "cast_nodes"]

_KINDS = {Precision.FP16: TensorProto.FLOAT16, Precision.BF16: TensorProto.BFLOAT16}

_BF16_OPSET = 22
"""The first opset in which convolution and pooling take BF16 (ONNX changelog, version 22)."""


def cast(model: OnnxModel, precision: Precision, *, keep: Collection[str] = ()) -> TypedGraph:
    """The graph in FP16 or BF16: inputs and outputs stay FP32, and so do sensitive operators.

    Args:
        model: a simplified model in FP32.
        precision: `FP16` or `BF16`.
        keep: names of nodes that stay in FP32 in any case; a mapping gives their reasons, as
            `overflow.overflowing` does.

    Raises:
        ModelUnsupported: `keep` names a node that the graph does not have.
        ValueError: another precision.
    """
    if precision not in _KINDS:
        raise ValueError(f"a graph is cast to fp16 or bf16, not to {precision}")
    if precision is Precision.BF16:
        model = at_least_opset(model, _BF16_OPSET)
    proto = _prepared(model)
    _refuse_unknown(proto, keep, model)
    types = tensor_types(proto, None)
    operators = {node.name: node.op_type for node in proto.graph.node}
    folder = model.weights or Path()
    choice = choose(proto, types, _KINDS[precision], keep, folder)
    lower(proto, choice.narrow, types, _KINDS[precision], folder)
    return _typed(replace(model, proto=proto), _notes(choice.kept, operators))


def cast_nodes(graph: TypedGraph, nodes: Collection[str]) -> TypedGraph:
    """The same graph with only these nodes in FP16, casts around them.

    Raises:
        ModelUnsupported: a node is not there, or cannot compute in FP16.
    """
    proto = _prepared(graph.model)
    _refuse_unknown(proto, nodes, graph.model)
    types = tensor_types(proto, None)
    chosen = {}
    for node in proto.graph.node:
        if node.name not in nodes:
            continue
        indices = float_indices(node, types, opset_of(proto), TensorProto.FLOAT16)
        if indices is None:
            raise ModelUnsupported(
                f"{graph.model.source}: node {node.name!r} ({node.op_type}) cannot compute in FP16 "
                "here; leave it as it is"
            )
        chosen[node.name] = indices
    lower(proto, chosen, types, TensorProto.FLOAT16, graph.model.weights or Path())
    notes = (*graph.notes, *(f"{name}: in FP16, as asked" for name in chosen))
    return _typed(replace(graph.model, proto=proto), notes)


def _prepared(model: OnnxModel) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    free_constants(proto)
    name_nodes(proto)
    return proto


def _refuse_unknown(proto: onnx.ModelProto, names: Collection[str], model: OnnxModel) -> None:
    missing = sorted(set(names) - {node.name for node in proto.graph.node})
    if missing:
        raise ModelUnsupported(
            f"{model.source} has no node named {', '.join(map(repr, missing))} after "
            "simplification; see the names with: enginecrate inspect"
        )


def _typed(model: OnnxModel, notes: Iterable[str]) -> TypedGraph:
    layers = layers_of(model)
    return TypedGraph(model, precision_of(layers), layers, tuple(notes))


def _notes(kept: Mapping[str, str], operators: Mapping[str, str]) -> list[str]:
    """One sentence for all nodes of one operator that stay for one reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, reason in kept.items():
        groups.setdefault((operators[name], reason), []).append(name)
    return [
        f"{operator} stays in FP32 ({', '.join(names)}): {reason}"
        for (operator, reason), names in groups.items()
    ]
