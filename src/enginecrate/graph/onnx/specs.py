"""The names, datatypes and shapes of a model's inputs and outputs."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from enginecrate.errors import ModelUnsupported
from enginecrate.values import DataType, TensorSpec

__all__ = ["batch_symbol", "input_specs", "output_specs", "real_inputs"]

_DATATYPES: dict[int, DataType] = {
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.UINT16: DataType.UINT16,
    TensorProto.UINT32: DataType.UINT32,
    TensorProto.UINT64: DataType.UINT64,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT16: DataType.INT16,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.FLOAT16: DataType.FP16,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.FLOAT: DataType.FP32,
    TensorProto.DOUBLE: DataType.FP64,
    TensorProto.STRING: DataType.BYTES,
}


def input_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The inputs that a caller gives: initialisers that are listed as inputs are left out.

    Raises:
        ModelUnsupported: an input is not a tensor of a known datatype and rank.
    """
    return tuple(_spec(info, "input") for info in real_inputs(proto))


def output_specs(proto: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The outputs. Raises `ModelUnsupported` as `input_specs` does."""
    return tuple(_spec(info, "output") for info in proto.graph.output)


def batch_symbol(proto: onnx.ModelProto) -> bool:
    """True when the inputs' dynamic first dimensions can be one and the same batch.

    Two inputs whose first dimensions have different names (`batch` and `tokens`) cannot.
    """
    names = {
        info.type.tensor_type.shape.dim[0].dim_param
        for info in real_inputs(proto)
        if info.type.tensor_type.shape.dim
    }
    return len(names) <= 1


def real_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller gives, as the graph declares them."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    constants.update(sparse.values.name for sparse in proto.graph.sparse_initializer)
    return [info for info in proto.graph.input if info.name not in constants]


def _spec(info: onnx.ValueInfoProto, role: str) -> TensorSpec:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        what = (kind or "unknown_type").removesuffix("_type")
        raise ModelUnsupported(
            f"{role} {info.name!r} is a {what}, and only tensors are supported; "
            "export the model without it (for scikit-learn models: with zipmap off)"
        )
    tensor = info.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        name = TensorProto.DataType.Name(tensor.elem_type)
        raise ModelUnsupported(
            f"{role} {info.name!r} has the datatype {name}, which no client can send or read; "
            "export the model with float, integer, bool or string inputs and outputs"
        )
    if not tensor.HasField("shape"):
        raise ModelUnsupported(
            f"{role} {info.name!r} has no shape, not even its number of dimensions; export the "
            "model with shapes, or run onnx.shape_inference.infer_shapes on it"
        )
    return TensorSpec(info.name, datatype, tuple(_size(dim) for dim in tensor.shape.dim))


def _size(dim: onnx.TensorShapeProto.Dimension) -> int:
    fixed = dim.HasField("dim_value") and dim.dim_value >= 0
    return int(dim.dim_value) if fixed else -1
