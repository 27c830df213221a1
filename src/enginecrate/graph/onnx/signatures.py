"""The inputs and outputs of a node that share its floating-point type, by the operator's schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import TensorProto

from enginecrate.graph.onnx.shapes import TensorType

__all__ = ["FloatIndices", "float_indices", "opset_of"]

_NAMES: dict[int, str] = {
    TensorProto.FLOAT16: "tensor(float16)",
    TensorProto.BFLOAT16: "tensor(bfloat16)",
}


@dataclass(frozen=True, slots=True)
class FloatIndices:
    """Indices of the FP32 inputs and outputs that change their type together."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators; 1 when the model names none."""
    versions = [one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def float_indices(
    node: onnx.NodeProto, types: Mapping[str, TensorType], opset: int, kind: int
) -> FloatIndices | None:
    """The inputs and outputs that become `kind` when the node computes in it.

    `None` when the operator does not take that type in this opset, or has no FP32 input of a
    variable type, or writes a FP32 output whose type stands alone.
    """
    schema = _schema(node, opset)
    if schema is None:
        return None
    inputs = _of_type(node.input, types)
    variable = next(
        (text for index in inputs if (text := _type(schema.inputs, index)) in _variables(schema)),
        "",
    )
    if not variable or _NAMES[kind] not in _variables(schema)[variable]:
        return None
    outputs = _of_type(node.output, types)
    if any(name and name not in types for name in node.output):  # a sequence, for example
        return None
    if any(_type(schema.outputs, index) != variable for index in outputs):
        return None
    chosen = tuple(index for index in inputs if _type(schema.inputs, index) == variable)
    return FloatIndices(chosen, outputs)


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    return _schema_of(node.op_type, opset) if node.domain in ("", "ai.onnx") else None


@cache
def _schema_of(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None


def _of_type(names: Iterable[str], types: Mapping[str, TensorType]) -> tuple[int, ...]:
    return tuple(
        index
        for index, name in enumerate(names)
        if name in types and types[name].kind == TensorProto.FLOAT
    )


def _type(formal: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> str:
    """The type of a parameter; the last one of a schema may stand for many."""
    return str(formal[min(index, len(formal) - 1)].type_str) if formal else ""


def _variables(schema: onnx.defs.OpSchema) -> dict[str, list[str]]:
    return {one.type_param_str: list(one.allowed_type_strs) for one in schema.type_constraints}
