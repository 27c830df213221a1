"""Let some nodes compute in a narrow type, with as few casts as can be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from enginecrate.graph.cast.narrow_weights import narrow_constant
from enginecrate.graph.cast.sensitive import READS_ANY_FLOAT, SATURATING
from enginecrate.graph.onnx.names import fresh_name, tensor_names
from enginecrate.graph.onnx.shapes import TensorType
from enginecrate.graph.onnx.signatures import FloatIndices
from enginecrate.graph.onnx.walk import model_nodes
from enginecrate.graph.rewrite.tidy import captured_names, remove_unused

__all__ = ["lower"]

_SUFFIX: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
}


def lower(
    proto: onnx.ModelProto,
    chosen: Mapping[str, FloatIndices],
    types: Mapping[str, TensorType],
    kind: int,
    folder: Path = Path(),
) -> None:
    """Rewrite the main graph in place.

    The model's inputs and outputs, and whatever subgraphs read, keep their names and types. A
    tensor that is needed in the other type is cast once, just before it is first needed.

    Args:
        proto: a model whose Constant nodes are initialisers, with named nodes.
        chosen: the nodes that shall compute in the narrow type, with the indices of their floats.
        types: of the tensors in this model.
        kind: `TensorProto.FLOAT16` or `BFLOAT16`.
        folder: where external data are.
    """
    work = _Lowering(proto, types, kind, folder)
    for node in proto.graph.node:
        if node.name in chosen:
            work.narrow(node, chosen[node.name])
        else:
            work.keep(node)
    work.finish()


class _Lowering:
    """One rewrite: the nodes written so far, and where each tensor is found in which type."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        types: Mapping[str, TensorType],
        kind: int,
        folder: Path,
    ) -> None:
        self._graph, self._types, self._kind = proto.graph, types, kind
        self._folder = folder
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._fixed = {info.name for info in proto.graph.output} | captured_names(proto.graph)
        self._producers = {name: node for node in proto.graph.node for name in node.output}
        self._taken = tensor_names(proto)
        self._node_names = {node.name for node in model_nodes(proto)}
        self._nodes: list[onnx.NodeProto] = []
        self._made: list[TensorProto] = []
        self._narrow: dict[str, str] = {}
        self._wide: dict[str, str] = {}

    def narrow(self, node: onnx.NodeProto, indices: FloatIndices) -> None:
        """Write a node that computes in the narrow type."""
        saturating = SATURATING.get(node.op_type, ())
        for index, name in enumerate(node.input):
            if index in indices.inputs:
                node.input[index] = self._as_narrow(name, saturate=index in saturating)
            else:
                node.input[index] = self._as_wide(name)
        self._nodes.append(node)
        for index in indices.outputs:
            name = node.output[index]
            if name not in self._fixed:
                self._narrow[name] = name
                continue
            node.output[index] = self._fresh(name, self._kind)
            self._narrow[name] = node.output[index]
            self._cast(node.output[index], name, TensorProto.FLOAT)
            self._wide[name] = name

    def keep(self, node: onnx.NodeProto) -> None:
        """Write a node that stays as it is."""
        either = node.op_type in READS_ANY_FLOAT and node.domain in ("", "ai.onnx")
        for index, name in enumerate(node.input):
            node.input[index] = self._narrow.get(name, name) if either else self._as_wide(name)
        self._nodes.append(node)

    def finish(self) -> None:
        """Put everything into the graph, and remove what lost its readers."""
        graph = self._graph
        nodes = list(self._nodes)
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(self._made)
        remove_unused(graph)
        for info in graph.value_info:
            if self._narrow.get(info.name) == info.name:
                info.type.tensor_type.elem_type = self._kind

    def _as_narrow(self, name: str, *, saturate: bool) -> str:
        if name in self._narrow:
            return self._narrow[name]
        tensor = self._constants.get(name)
        if tensor is not None:
            made = narrow_constant(tensor, self._kind, self._folder, saturate=saturate)
            made.name = self._fresh(name, self._kind)
            self._made.append(made)
            self._narrow[name] = made.name
            return made.name
        source = self._source(name)
        if source:
            return source
        self._narrow[name] = self._fresh(name, self._kind)
        self._cast(name, self._narrow[name], self._kind)
        return self._narrow[name]

    def _source(self, name: str) -> str:
        """The tensor that a cast to FP32 has read, when it is of the narrow type already."""
        producer = self._producers.get(name)
        if producer is None or producer.op_type != "Cast":
            return ""
        source = str(producer.input[0])
        narrow = source in self._narrow.values()
        given = source in self._types and self._types[source].kind == self._kind
        return source if narrow or given else ""

    def _as_wide(self, name: str) -> str:
        if self._narrow.get(name) != name:
            return name
        if name not in self._wide:
            self._wide[name] = self._fresh(name, TensorProto.FLOAT)
            self._cast(name, self._wide[name], TensorProto.FLOAT)
        return self._wide[name]

    def _cast(self, source: str, target: str, kind: int) -> None:
        name = fresh_name(f"{target}_cast", self._node_names)
        self._node_names.add(name)
        self._nodes.append(helper.make_node("Cast", [source], [target], name, to=kind))

    def _fresh(self, name: str, kind: int) -> str:
        fresh = fresh_name(f"{name}_{_SUFFIX[kind]}", self._taken)
        self._taken.add(fresh)
        return fresh
