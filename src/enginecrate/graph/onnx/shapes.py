"""The datatype and the shape of every tensor in a graph, for a batch of a given size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from enginecrate.graph.onnx.specs import real_inputs
from enginecrate.graph.onnx.weights import without_weights

__all__ = ["TensorType", "bits_of", "tensor_types"]

_BITS: dict[int, int] = {
    TensorProto.DOUBLE: 64,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.FLOAT: 32,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """kind: as in `TensorProto.DataType`. shape: `None` when a size or the rank is unknown."""

    kind: int
    shape: tuple[int, ...] | None

    @property
    def elements(self) -> int | None:
        """The number of elements; `None` when unknown."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def bytes(self) -> int | None:
        """Size in memory; `None` when unknown. Strings count as nothing."""
        return None if self.elements is None else (self.elements * bits_of(self.kind) + 7) // 8


def bits_of(kind: int) -> int:
    """Bits of one element; 0 for strings and unknown datatypes."""
    if kind in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 0
    return _BITS.get(kind, 8)


def tensor_types(proto: onnx.ModelProto, batch: int | None = 1) -> dict[str, TensorType]:
    """Every tensor of the main graph whose datatype ONNX's shape inference finds.

    batch: takes the place of the first dimension of all inputs where that is dynamic; `None`
        leaves it dynamic.
    """
    bound = without_weights(proto)
    if batch is not None:
        _bind(bound, batch)
    try:
        inferred = onnx.shape_inference.infer_shapes(bound, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = bound  # what the model itself declares is left
    graph = inferred.graph
    types = {tensor.name: _of_tensor(tensor) for tensor in graph.initializer}
    types.update(_of_infos((*graph.value_info, *graph.input, *graph.output)))
    types.pop("", None)
    return types


def _of_tensor(tensor: TensorProto) -> TensorType:
    return TensorType(tensor.data_type, tuple(tensor.dims))


def _of_infos(infos: Iterable[onnx.ValueInfoProto]) -> Iterable[tuple[str, TensorType]]:
    for info in infos:
        if info.type.WhichOneof("value") != "tensor_type":
            continue
        tensor = info.type.tensor_type
        dims = tensor.shape.dim
        known = tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
        shape = tuple(dim.dim_value for dim in dims) if known else None
        yield info.name, TensorType(tensor.elem_type, shape)


def _bind(proto: onnx.ModelProto, batch: int) -> None:
    """Put a number in the place of the batch, wherever its symbol stands."""
    graph = proto.graph
    symbols = set()
    for info in real_inputs(proto):
        dims = info.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            symbols.add(dims[0].dim_param)
            dims[0].dim_value = batch
    symbols.discard("")
    for info in (*graph.input, *graph.output, *graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = batch
