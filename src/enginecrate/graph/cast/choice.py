"""Choose the nodes that may compute in FP16 or BF16, and say of the others why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto

from enginecrate.graph.cast.narrow_weights import why_not_narrow
from enginecrate.graph.cast.sensitive import EXACT, SATURATING, SENSITIVE, WITHOUT_BF16
from enginecrate.graph.onnx.shapes import TensorType
from enginecrate.graph.onnx.signatures import FloatIndices, float_indices, opset_of

__all__ = ["Choice", "choose"]


@dataclass(slots=True)
class Choice:
    """narrow: nodes to change, by name. kept: nodes that stay in FP32, with the reason.

    Nodes that have no floats, and those that merely pass on what others keep, are in neither.
    """

    narrow: dict[str, FloatIndices] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def choose(
    proto: onnx.ModelProto,
    types: Mapping[str, TensorType],
    kind: int,
    keep: Collection[str] = (),
    folder: Path = Path(),
) -> Choice:
    """Choose for every node of the main graph.

    A node stays in FP32 when it is named in `keep`, its operator is sensitive, the operator does
    not take the type, a constant does not fit, it has subgraphs, it computes with shapes only, or
    a DequantizeLinear stands before it: such a node is quantised already.
    A node that rounds nothing follows what it is given: the narrow type if that is narrow, FP32
    if a node wrote it that stays in FP32.
    """
    work = _Choosing(proto, types, kind, keep, folder)
    for node in proto.graph.node:
        work.decide(node)
    return work.choice


class _Choosing:
    def __init__(
        self,
        proto: onnx.ModelProto,
        types: Mapping[str, TensorType],
        kind: int,
        keep: Collection[str],
        folder: Path,
    ) -> None:
        self.choice = Choice()
        self._folder = folder
        self._types, self._kind = types, kind
        self._keep = keep if isinstance(keep, Mapping) else dict.fromkeys(keep, "it is to be kept")
        self._opset = opset_of(proto)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._shaped: set[str] = set()  # computed from shapes and constants only
        self._wide: set[str] = set()  # written by a node that stays in FP32
        self._quantised: set[str] = set()  # written by a DequantizeLinear
        self._narrow: set[str] = set()

    def decide(self, node: onnx.NodeProto) -> None:
        if self._from_shapes(node):
            self._shaped.update(node.output)
            self._wide.update(node.output)
            return
        if not any(self._is_float(name) for name in (*node.input, *node.output)):
            return
        if node.op_type == "DequantizeLinear":
            self._quantised.update(node.output)
        if not self._quantised.isdisjoint(node.input):  # it computes in INT8 or FP8
            self._wide.update(node.output)
            return
        indices = float_indices(node, self._types, self._opset, self._kind)
        reason = self._reason(node, indices)
        if reason:
            self._wide.update(node.output)
            if indices is not None or _has_subgraph(node):
                self.choice.kept[node.name] = reason
        elif indices is not None and self._follows(node, indices):
            self._narrow.update(node.output)
            self.choice.narrow[node.name] = indices

    def _from_shapes(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ("Shape", "Size"):
            return True
        names = [name for name in node.input if name and name not in self._constants]
        return bool(names) and self._shaped.issuperset(names) and not _has_subgraph(node)

    def _is_float(self, name: str) -> bool:
        return name in self._types and self._types[name].kind == TensorProto.FLOAT

    def _reason(self, node: onnx.NodeProto, indices: FloatIndices | None) -> str:
        if node.name in self._keep:
            return self._keep[node.name]
        if _has_subgraph(node):
            return "it has subgraphs"
        if node.op_type in SENSITIVE:
            return SENSITIVE[node.op_type]
        if self._kind == TensorProto.BFLOAT16 and node.op_type in WITHOUT_BF16:
            return WITHOUT_BF16[node.op_type]
        if indices is None:
            return "" if node.op_type == "Cast" else "its operator takes no other type"
        saturating = SATURATING.get(node.op_type, ())
        tensors = [
            self._constants[node.input[index]]
            for index in indices.inputs
            if node.input[index] in self._constants and index not in saturating
        ]
        reasons = (why_not_narrow(one, self._kind, self._folder) for one in tensors)
        return next(filter(None, reasons), "")

    def _follows(self, node: onnx.NodeProto, indices: FloatIndices) -> bool:
        """True when a node takes the narrow type, as far as its inputs have a say in it."""
        if node.op_type not in EXACT:
            return True
        names = [node.input[index] for index in indices.inputs]
        if any(name in self._wide for name in names):
            return False
        given = [name for name in names if name not in self._constants]
        return not given or any(name in self._narrow for name in given)


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(one.HasField("g") or len(one.graphs) > 0 for one in node.attribute)
