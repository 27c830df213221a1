"""Tensors in arenas: from arrays to bytes and back. BYTES tensors lie there as v2 sends them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from enginecrate.server.inference_protocol.binary_tensors import array_from_bytes, bytes_from_array
from enginecrate.values import Array, DataType, TensorSpec

__all__ = ["ALIGNMENT", "aligned", "array_bytes", "fixed_bytes", "read_array", "write_array"]

ALIGNMENT = 64
"""Where a tensor may begin, in bytes: a cache line, and what CUDA copies at full speed."""

_LENGTH_BYTES = 4


def aligned(size: int) -> int:
    """The size up to where the next tensor may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def array_bytes(array: Array) -> int:
    """Bytes that an array takes in an arena."""
    if array.dtype == object:
        return sum(len(element) + _LENGTH_BYTES for element in array.flat)
    return array.nbytes


def fixed_bytes(spec: TensorSpec, samples: int) -> int | None:
    """Bytes of a tensor for a batch; `None` where they are not known before it is computed.

    Args:
        spec: of the tensor.
        samples: of the batch; 0 when the first dimension is none.
    """
    shape = (samples, *spec.shape[1:]) if samples and spec.shape else spec.shape
    if spec.datatype is DataType.BYTES or any(size < 0 for size in shape):
        return None
    return math.prod(shape) * spec.datatype.numpy.itemsize


def write_array(array: Array, view: memoryview) -> None:
    """Copy an array; `view` has exactly its bytes."""
    if array.dtype == object:
        view[:] = bytes_from_array(array)
    elif array.size:
        np.copyto(np.frombuffer(view, array.dtype).reshape(array.shape), array)


def read_array(spec: TensorSpec, view: memoryview, shape: Sequence[int]) -> Array:
    """The array in a number of bytes: not copied, unless it is text or out of alignment.

    Raises:
        RequestInvalid: the bytes are not those of the shape and the datatype.
    """
    where = f"tensor {spec.name!r}"
    if spec.datatype is DataType.BYTES:  # lengths are read twice: from memory of our own
        return array_from_bytes(where, memoryview(bytes(view)), spec.datatype, shape)
    return array_from_bytes(where, view, spec.datatype, shape)
