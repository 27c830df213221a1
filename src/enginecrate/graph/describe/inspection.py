"""The facts of a model: its inputs and outputs, operators and parameters."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import onnx

from enginecrate.graph.describe.metadata import read_metadata
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.walk import model_nodes, model_tensors
from enginecrate.values import TensorSpec

__all__ = ["DynamicDimension", "ModelFacts", "count_operators", "inspect_model"]


class DynamicDimension(msgspec.Struct, frozen=True):
    """A dimension whose size the caller chooses. `symbol` is `""` when the model names none."""

    tensor: str
    axis: int
    symbol: str


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one model.

    bytes: of the file, with its external data. parameters: numbers in all constant tensors of
    floating or integer type, subgraphs and functions included. class_names: as the model's
    metadata has them, under the key class_names_key.
    """

    digest: str
    bytes: int
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dynamic: tuple[DynamicDimension, ...]
    nodes: int
    operators: dict[str, int]
    parameters: int
    class_names: tuple[str, ...] = ()
    class_names_key: str = ""


def inspect_model(model: OnnxModel) -> ModelFacts:
    """Gather the facts of a model. Runs nothing of it."""
    proto = model.proto
    metadata = read_metadata(proto)
    operators = count_operators(proto)
    return ModelFacts(
        digest=str(model.source_digest),
        bytes=model.source_bytes,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        ir_version=proto.ir_version,
        opsets={opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
        inputs=model.inputs,
        outputs=model.outputs,
        dynamic=_dynamic_dimensions(model),
        nodes=sum(operators.values()),
        operators=operators,
        parameters=sum(
            int(np.prod(tensor.dims, dtype=np.int64)) for tensor in model_tensors(proto)
        ),
        class_names=metadata.labels,
        class_names_key=metadata.labels_key,
    )


def count_operators(proto: onnx.ModelProto) -> dict[str, int]:
    """The number of each operator, commonest first. Names of foreign domains are qualified."""
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in model_nodes(proto)
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _dynamic_dimensions(model: OnnxModel) -> tuple[DynamicDimension, ...]:
    infos = {info.name: info for info in (*model.proto.graph.input, *model.proto.graph.output)}
    return tuple(
        DynamicDimension(
            spec.name, axis, infos[spec.name].type.tensor_type.shape.dim[axis].dim_param
        )
        for spec in (*model.inputs, *model.outputs)
        for axis, size in enumerate(spec.shape)
        if size < 0
    )
