"""Check tensors against a specification before an engine sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enginecrate.errors import TensorMismatch, nearest
from enginecrate.values import Array, DataType, Tensors, TensorSpec

__all__ = ["check_inputs"]


def check_inputs(specs: Sequence[TensorSpec], tensors: Tensors, max_batch: int) -> int:
    """Check names, datatypes and shapes of input tensors.

    Args:
        specs: what the engine takes; `-1` allows any size.
        tensors: one array for each input.
        max_batch: the largest batch; 0 when the first dimension is not a batch.

    Returns:
        The size of the batch; 1 when the first dimension is not a batch.

    Raises:
        TensorMismatch: the message names the tensor, what was expected, and what was found.
    """
    for spec in specs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise TensorMismatch(f"input {spec.name!r} is missing; send it as {_expected(spec)}")
        _check_tensor(spec, tensor)
    if len(tensors) != len(specs):
        _refuse_unknown(specs, tensors)
    return _check_batch(specs, tensors, max_batch) if max_batch and specs else 1


def _check_tensor(spec: TensorSpec, tensor: Array) -> None:
    if not isinstance(tensor, np.ndarray):
        raise TensorMismatch(
            f"input {spec.name!r}: expected an array of {_expected(spec)}, "
            f"found {type(tensor).__name__}"
        )
    if tensor.dtype != spec.datatype.numpy:
        raise TensorMismatch(
            f"input {spec.name!r}: expected datatype {spec.datatype}, "
            f"found {_datatype(tensor)}; convert it before you send it"
        )
    if len(spec.shape) != tensor.ndim or any(
        want not in (-1, have) for want, have in zip(spec.shape, tensor.shape, strict=True)
    ):
        raise TensorMismatch(
            f"input {spec.name!r}: expected shape {_shape(spec.shape)}, "
            f"found {_shape(tensor.shape)}{_advice(spec, tensor)}"
        )
    if spec.datatype is DataType.BYTES:
        _check_elements(spec, tensor)


def _check_elements(spec: TensorSpec, tensor: Array) -> None:
    for position, element in enumerate(tensor.flat):
        if not isinstance(element, bytes):
            raise TensorMismatch(
                f"input {spec.name!r}: every element of a BYTES tensor must be bytes, "
                f"found {type(element).__name__} at position {position}"
            )


def _check_batch(specs: Sequence[TensorSpec], tensors: Tensors, max_batch: int) -> int:
    first = specs[0].name
    batch = int(tensors[first].shape[0])
    for spec in specs[1:]:
        other = tensors[spec.name].shape[0]
        if other != batch:
            raise TensorMismatch(
                f"input {spec.name!r} has a batch of {other}, but input {first!r} one of {batch}; "
                "every input needs the same"
            )
    if not 1 <= batch <= max_batch:
        cure = "send at least one sample" if batch < 1 else "send several smaller batches"
        raise TensorMismatch(
            f"input {first!r}: expected a batch of 1 to {max_batch}, found {batch}; {cure}"
        )
    return batch


def _refuse_unknown(specs: Sequence[TensorSpec], tensors: Tensors) -> None:
    known = [spec.name for spec in specs]
    name = next(name for name in tensors if name not in known)
    raise TensorMismatch(
        f"there is no input {name!r}{nearest(name, known)}; the inputs are: {', '.join(known)}"
    )


def _expected(spec: TensorSpec) -> str:
    return f"{spec.datatype} {_shape(spec.shape)}"


def _shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _datatype(tensor: Array) -> str:
    try:
        name = str(DataType.of(tensor.dtype))
    except ValueError:
        return str(tensor.dtype)
    return name if DataType(name).numpy == tensor.dtype else f"NumPy {tensor.dtype}"


def _advice(spec: TensorSpec, tensor: Array) -> str:
    if tensor.ndim == len(spec.shape) - 1 and spec.shape[:1] == (-1,):
        return "; put the batch dimension in front, for example tensor[None]"
    return "; -1 allows any size" if -1 in spec.shape else ""
