"""Tensors in JSON: flat or nested lists, row-major.

Open Inference Protocol v2, section "Tensor Data". JSON has no NaN and no Infinity: they are refused
in requests, and become `null` in answers (clients that need them ask for binary outputs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from enginecrate.errors import RequestInvalid
from enginecrate.values import Array, DataType

__all__ = ["array_from_json", "json_from_array"]

_WHITESPACE = b" \t\n\r"

_FLOATS = (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64)


def array_from_json(where: str, raw: bytes, datatype: DataType, shape: Sequence[int]) -> Array:
    """An array from the JSON text of its elements.

    Args:
        where: names the tensor in messages, for example `input 'x'`.
        raw: valid JSON.
        datatype: any of the protocol.
        shape: positive sizes; decides how many elements there must be.

    Raises:
        RequestInvalid: not a list, another number of elements, lists of unequal length, or
            elements that the datatype cannot hold.
    """
    depth = _depth(raw)
    if depth not in (1, len(shape)):
        raise RequestInvalid(
            f"{where}: data must be one flat list, or lists nested {len(shape)} deep as the shape "
            f"{list(shape)} is; found {'no list' if not depth else f'lists {depth} deep'}"
        )
    _check_count(where, raw, datatype, shape)
    try:
        values = _decoder(datatype, depth).decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise RequestInvalid(f"{where}: data does not fit {datatype}: {_plain(exc)}") from exc
    array = _array(where, values, datatype)
    if array.shape != tuple(shape):
        if depth > 1 or array.size != math.prod(shape):
            raise _miscounted(where, shape, f"its data has the shape {list(array.shape)}")
        array = array.reshape(shape)
    return array


def json_from_array(where: str, array: Array) -> list[Any]:
    """An array's elements in a flat list, ready for `msgspec.json.encode`.

    Raises:
        RequestInvalid: a BYTES element is not UTF-8, which JSON cannot carry.
    """
    if array.dtype == object:
        try:
            return [element.decode() for element in array.flat]
        except UnicodeDecodeError as exc:
            raise RequestInvalid(
                f"{where} holds bytes that are not UTF-8, which JSON cannot carry; ask for it "
                'with "parameters": {"binary_data": true}'
            ) from exc
    if array.dtype == DataType.BF16.numpy:
        array = array.astype(np.float32)
    listed: list[Any] = array.reshape(-1).tolist()
    return listed


def _depth(raw: bytes) -> int:
    """The number of lists that open before the first element."""
    depth = 0
    for byte in raw[:256]:
        if byte == ord("["):
            depth += 1
        elif byte not in _WHITESPACE:
            break
    return depth


def _check_count(where: str, raw: bytes, datatype: DataType, shape: Sequence[int]) -> None:
    """Refuse a lie about the number of elements before any of them becomes an object."""
    count = math.prod(shape)
    if datatype is DataType.BYTES:  # commas may be part of a text; quotes in one are escaped
        if raw.count(b'"') > 2 * count + raw.count(b"\\"):
            raise _miscounted(where, shape, f"its data has more than {count}")
        return
    elements = raw.count(b",") + 1 if raw.strip(_WHITESPACE + b"[]") else 0
    if elements != count:
        raise _miscounted(where, shape, f"its data has {elements}")


def _miscounted(where: str, shape: Sequence[int], fault: str) -> RequestInvalid:
    return RequestInvalid(
        f"{where}: shape {list(shape)} needs {math.prod(shape)} elements, {fault}"
    )


@cache
def _decoder(datatype: DataType, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = {"b": bool, "i": int, "u": int, "O": str}.get(datatype.numpy.kind, float)
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _array(where: str, values: Any, datatype: DataType) -> Array:
    if datatype is DataType.BYTES:
        return _texts(where, values)
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=datatype.numpy)
    except OverflowError as exc:
        raise RequestInvalid(f"{where}: a number is out of the range of {datatype}") from exc
    except ValueError as exc:
        raise RequestInvalid(f"{where}: the lists of data are not equally long") from exc
    if datatype in _FLOATS and not np.isfinite(array).all():
        raise RequestInvalid(f"{where}: a number is out of the range of {datatype}")
    return array


def _texts(where: str, values: Any) -> Array:
    try:
        texts = np.array(values, dtype=object)
    except ValueError as exc:
        raise RequestInvalid(f"{where}: the lists of data are not equally long") from exc
    elements = np.empty(texts.shape, dtype=object)
    for position, text in enumerate(texts.flat):
        if not isinstance(text, str):
            raise RequestInvalid(f"{where}: the lists of data are not equally long")
        elements.flat[position] = text.encode()
    return elements


def _plain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists are nested too deeply"
    return str(error).replace("`", "")
