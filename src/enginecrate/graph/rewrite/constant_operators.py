"""ONNX operators on constants, in numpy: those whose result is the same on every machine.

They move numbers, compare them, or round once as IEEE 754 says. Sums, powers, exponentials and
products of matrices depend on the processor in their last bit, so they are left to the backends.
Source: ONNX operators, with their changes from opset to opset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper

from enginecrate.values import Array

__all__ = ["FOLDABLE", "evaluate"]

Attributes = Mapping[str, Any]
Inputs = Sequence[Array | None]
Operator = Callable[[Inputs, Attributes, int], list[Array]]

_PLAIN = "fiub"
"""Kinds of numpy's own numbers; BF16, FP8, four bits and texts are not folded."""

_ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Equal": np.equal,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Identity": np.copy,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Where": np.where,
    "Xor": np.logical_xor,
}


def evaluate(
    operator: str, inputs: Inputs, attributes: Attributes, opset: int, largest: int
) -> list[Array] | None:
    """The outputs of a node; `None` when they are undefined, of other datatypes or too large.

    Args:
        operator: of ONNX's own domain; one of `FOLDABLE`.
        inputs: in their order; `None`: left out.
        attributes: by name.
        opset: the graph's, 7 or newer.
        largest: bytes that the outputs may have, together.
    """
    given = [array for array in inputs if array is not None]
    if any(array.dtype.kind not in _PLAIN for array in given):
        return None
    try:
        if _expected_bytes(operator, given, attributes) > largest:
            return None
        with np.errstate(all="ignore"):
            outputs = _OPERATORS[operator](inputs, attributes, opset)
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, _NotFolded):
        return None  # the checker or the backend says what is wrong with it
    return [np.ascontiguousarray(array).reshape(array.shape) for array in outputs]


class _NotFolded(Exception):
    """The result is not defined, or differs between machines."""


def _expected_bytes(operator: str, given: Sequence[Array], attributes: Attributes) -> int:
    """An upper bound on the size of the result, before anything is computed."""
    if operator in _SIZES:
        return _SIZES[operator](given, attributes)
    if operator in _ELEMENTWISE or operator in ("Div", "Max", "Min"):
        shape = np.broadcast_shapes(*(array.shape for array in given))
        return max(array.itemsize for array in given) * math.prod(shape)
    return sum(array.nbytes for array in given)


_SIZES: dict[str, Callable[[Sequence[Array], Attributes], int]] = {
    "Cast": lambda given, attributes: (
        given[0].size * helper.tensor_dtype_to_np_dtype(attributes["to"]).itemsize
    ),
    "ConstantOfShape": lambda given, attributes: 8 * math.prod(given[0].tolist()),
    "Expand": lambda given, attributes: (
        given[0].itemsize * math.prod(np.broadcast_shapes(given[0].shape, tuple(given[1].tolist())))
    ),
    "Gather": lambda given, attributes: (
        given[0].nbytes // max(1, given[0].shape[int(attributes.get("axis", 0))]) * given[1].size
    ),
    "Range": lambda given, attributes: given[0].itemsize * _range_length(given),
    "Tile": lambda given, attributes: given[0].nbytes * math.prod(given[1].tolist()),
}
"""Operators whose result may be larger than what they are given."""


def _range_length(given: Sequence[Array]) -> int:
    start, limit, delta = (array.item() for array in given)
    return max(0, math.ceil((limit - start) / delta)) if delta else 0


def _elementwise(function: Callable[..., Array]) -> Operator:
    return lambda inputs, attributes, opset: [np.asarray(function(*inputs))]


def _all_of(function: Callable[..., Array]) -> Operator:
    """An operator on any number of inputs (Max, Min)."""

    def run(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
        first, *others = inputs
        result = np.asarray(first)
        for array in others:
            result = np.asarray(function(result, array))
        return [result]

    return run


def _cast(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array = _first(inputs)
    target = np.dtype(helper.tensor_dtype_to_np_dtype(attributes["to"]))
    if target.kind not in _PLAIN:
        raise _NotFolded
    if array.dtype.kind == "f" and target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        least, most = float(array.min()), float(array.max())
        if not (limits.min <= least and most < limits.max):  # undefined in C; false for NaN
            raise _NotFolded
    return [array.astype(target)]


def _concat(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    return [np.concatenate([_given(array) for array in inputs], axis=int(attributes["axis"]))]


def _constant_of_shape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    value = attributes.get("value", np.zeros(1, np.float32))
    if value.dtype.kind not in _PLAIN:
        raise _NotFolded
    return [np.full(tuple(_first(inputs)), value.reshape(()), value.dtype)]


def _div(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    a, b = _first(inputs), _given(inputs[1])
    if a.dtype.kind == "f":
        return [np.asarray(a / b)]
    if not np.all(b):
        raise _NotFolded
    if a.dtype.kind == "i" and np.any((a == np.iinfo(a.dtype).min) & (b == -1)):
        raise _NotFolded  # overflows, which C leaves undefined
    down = a // b  # C rounds towards zero, numpy down
    return [np.asarray(down + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0)))).astype(a.dtype)]


def _expand(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array, shape = _first(inputs), _given(inputs[1])
    return [np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(shape)))]


def _flatten(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array, axis = _first(inputs), int(attributes.get("axis", 1))
    axis += array.ndim if axis < 0 else 0
    return [array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))]


def _gather(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    indices = _given(inputs[1])
    return [np.asarray(np.take(_first(inputs), indices, axis=int(attributes.get("axis", 0))))]


def _range(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    start, _, delta = (_given(array) for array in inputs)
    if start.dtype.kind == "f" or not delta.item():
        raise _NotFolded  # backends add up floats in different ways
    length = _range_length([_given(array) for array in inputs])
    return [(start.reshape(()) + np.arange(length) * delta.reshape(())).astype(start.dtype)]


def _reshape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array, shape = _first(inputs), [int(size) for size in _given(inputs[1])]
    if not attributes.get("allowzero", 0):
        shape = [array.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return [array.reshape(shape)]


def _shape(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    start, end = attributes.get("start", 0), attributes.get("end")
    return [np.asarray(_first(inputs).shape[start:end], np.int64)]


def _size(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    return [np.asarray(_first(inputs).size, np.int64)]


def _slice(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array = _first(inputs)
    starts, ends, axes, steps = _slice_limits(inputs, attributes, opset)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise _NotFolded
        indices = _slice_indices(start, end, step, array.shape[axis])
        array = np.take(array, np.asarray(indices, np.int64), axis=axis)
    return [array]


def _slice_indices(start: int, end: int, step: int, size: int) -> range:
    """The indices of an axis, clamped as the Slice operator does, which is not Python's way."""
    start, end = (limit + size if limit < 0 else limit for limit in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def _slice_limits(inputs: Inputs, attributes: Attributes, opset: int) -> list[list[int]]:
    """Starts, ends, axes and steps."""
    if opset < 10:
        given = [attributes.get(name) for name in ("starts", "ends", "axes")]
    else:
        given = [None if one is None else one.tolist() for one in inputs[1:]]
    starts, ends, axes, steps, *_ = (*given, None, None)
    count = range(len(starts or ()))
    return [starts or [], ends or [], axes or list(count), steps or [1 for _ in count]]


def _split(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    array, axis = _first(inputs), int(attributes.get("axis", 0))
    sizes = attributes.get("split") if opset < 13 else _optional(inputs, 1)
    if sizes is None:
        raise _NotFolded
    return np.split(array, np.cumsum(sizes)[:-1], axis=axis)


def _squeeze(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    axes = attributes.get("axes") if opset < 13 else _optional(inputs, 1)
    if axes is not None and not len(axes):
        raise _NotFolded  # no axes or all of them: backends differ
    named = None if axes is None else tuple(int(axis) for axis in axes)
    return [np.squeeze(_first(inputs), axis=named)]


def _tile(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    return [np.tile(_first(inputs), tuple(_given(inputs[1])))]


def _transpose(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    return [np.transpose(_first(inputs), attributes.get("perm"))]


def _unsqueeze(inputs: Inputs, attributes: Attributes, opset: int) -> list[Array]:
    axes = attributes["axes"] if opset < 13 else _given(inputs[1])
    return [np.expand_dims(_first(inputs), tuple(int(axis) for axis in axes))]


def _first(inputs: Inputs) -> Array:
    return _given(inputs[0])


def _given(array: Array | None) -> Array:
    if array is None:
        raise _NotFolded
    return array


def _optional(inputs: Inputs, place: int) -> Array | None:
    return inputs[place] if place < len(inputs) else None


_OPERATORS: dict[str, Operator] = {
    **{name: _elementwise(function) for name, function in _ELEMENTWISE.items()},
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _div,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Max": _all_of(np.maximum),
    "Min": _all_of(np.minimum),
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

FOLDABLE = frozenset(_OPERATORS)
"""The names of these operators."""
