"""Tensors in binary: little-endian, row-major; each BYTES element has its length in front.

Open Inference Protocol v2, extension "binary tensor data".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from enginecrate.errors import RequestInvalid
from enginecrate.server.http.messages import Buffer
from enginecrate.values import Array, DataType

__all__ = ["array_from_bytes", "bytes_from_array"]

_LENGTH = struct.Struct("<I")


def array_from_bytes(
    where: str, data: memoryview, datatype: DataType, shape: Sequence[int]
) -> Array:
    """An array over the bytes of a body: read-only, not copied unless it is out of alignment.

    Args:
        where: names the tensor in messages, for example `input 'x'`.
        data: exactly the tensor's bytes.
        datatype: any of the protocol.
        shape: positive sizes.

    Raises:
        RequestInvalid: the bytes are too few or too many for the shape, or a truth value is
            neither 0 nor 1.
    """
    if datatype is DataType.BYTES:
        return _texts_from_bytes(where, data, shape)
    count = math.prod(shape)
    needed = count * datatype.numpy.itemsize
    if needed != data.nbytes:
        raise RequestInvalid(
            f"{where}: {datatype} of shape {list(shape)} takes {needed} bytes, "
            f"but {data.nbytes} bytes were sent (binary_data_size)"
        )
    if datatype is DataType.BOOL:
        _check_truths(where, data)
    array = np.frombuffer(data, dtype=datatype.numpy).reshape(shape)
    return array if array.flags.aligned else array.copy()


def bytes_from_array(array: Array) -> Buffer:
    """An array's bytes as the protocol sends them. A view, where the array's layout allows it."""
    if array.dtype == object:
        parts: list[bytes] = []
        for element in array.flat:
            parts += (_LENGTH.pack(len(element)), element)
        return b"".join(parts)
    array = np.ascontiguousarray(array)
    return array.reshape(-1).view(np.uint8).data


def _check_truths(where: str, data: memoryview) -> None:
    """Engines compute with the byte as it is: with a 2 both a value and its opposite are true."""
    values = np.frombuffer(data, np.uint8)
    wrong = np.flatnonzero(values > 1)
    if wrong.size:
        raise RequestInvalid(
            f"{where}: byte {wrong[0]} is {values[wrong[0]]}; a BOOL element is one byte, 0 or 1"
        )


def _texts_from_bytes(where: str, data: memoryview, shape: Sequence[int]) -> Array:
    count = math.prod(shape)
    if count * _LENGTH.size > data.nbytes:
        raise RequestInvalid(
            f"{where}: BYTES of shape {list(shape)} has {count} elements and takes at least "
            f"{count * _LENGTH.size} bytes, but {data.nbytes} bytes were sent (binary_data_size)"
        )
    elements = np.empty(count, dtype=object)
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        end = start + (_LENGTH.unpack_from(data, position)[0] if start <= data.nbytes else 0)
        if max(start, end) > data.nbytes:
            raise RequestInvalid(
                f"{where}: element {index} of {count} ends at byte {max(start, end)}, but "
                f"{data.nbytes} bytes were sent; each element needs its length in front, as "
                "4 bytes, little-endian"
            )
        elements[index] = bytes(data[start:end])
        position = end
    if position != data.nbytes:
        raise RequestInvalid(
            f"{where}: {data.nbytes - position} bytes are left over after {count} elements; "
            f"the shape {list(shape)} or binary_data_size is wrong"
        )
    return elements.reshape(shape)
