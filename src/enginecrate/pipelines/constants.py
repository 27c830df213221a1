"""Values of the manifest for the inputs of a model that take no photo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.values import Array, DataType, PipelineSpec, Tensors, TensorSpec

__all__ = ["constant_arrays", "given_constants", "usual_constants"]

_ONES = ("scale_factor",)
_HEIGHT_WIDTH = ("im_shape", "image_shape", "img_shape", "target_sizes", "origin_shape")
_WIDTH_HEIGHT = ("orig_target_sizes",)
"""Names by the custom of PaddleDetection and RT-DETR. With these values boxes come in pixels of
the model's input, from where the pipeline maps them to the photo."""


def constant_arrays(
    spec: PipelineSpec, others: Sequence[TensorSpec], size: tuple[int, int]
) -> Tensors:
    """One read-only array for each input that takes no photo, with a batch of 1 in front.

    Args:
        spec: its `constants`.
        others: the model's inputs without the image's.
        size: height and width of the image's input, for the advice; -1 where they are open.

    Raises:
        PipelineInvalid: an input has no value, a value has no input, or one does not fit the
            other; the message holds the line to write.
    """
    names = [tensor.name for tensor in others]
    if texts := [tensor for tensor in others if tensor.datatype is DataType.BYTES]:
        raise PipelineInvalid(
            f"[pipeline] constants give numbers, and the model's input {texts[0]} takes text; "
            "write a pipeline of your own that fills it, and name it in [pipeline] module "
            "(`enginecrate init --template custom` shows one)"
        )
    for name in spec.constants:
        if name not in names:
            raise PipelineInvalid(
                f"[pipeline] constants: the model has no further input {name!r}"
                f"{nearest(name, names)}; besides the image it has {', '.join(names) or 'none'}"
            )
    if missing := [tensor for tensor in others if tensor.name not in spec.constants]:
        listed = ", ".join(map(str, missing))
        values = {**spec.constants, **usual_constants(missing, size)}
        raise PipelineInvalid(
            f"[pipeline] task = {spec.task!r} fills one image input, and the model has "
            f"{len(others) + 1} inputs (left unfilled: {listed}); write, with the values that the "
            f"model's authors give, constants = {_toml(values)}, or a pipeline of your own that "
            "fills them, and name it in [pipeline] module (`enginecrate init --template custom` "
            "shows one)"
        )
    arrays = {tensor.name: _array(tensor, spec.constants[tensor.name], size) for tensor in others}
    return MappingProxyType(arrays)


def given_constants(spec: PipelineSpec, inputs: Sequence[TensorSpec]) -> Tensors:
    """The arrays of those inputs that have a constant, for whoever makes up all the others.

    Raises:
        PipelineInvalid: a value does not fit its input.
    """
    given = [tensor for tensor in inputs if tensor.name in spec.constants]
    return {tensor.name: _array(tensor, spec.constants[tensor.name], (-1, -1)) for tensor in given}


def usual_constants(others: Sequence[TensorSpec], size: tuple[int, int]) -> dict[str, Any]:
    """Values for inputs by the custom of their names; zeros for names without a custom.

    Args:
        others: the model's inputs without the image's.
        size: height and width of the image's input; -1 where they are open.
    """
    return {tensor.name: _usual(tensor, size) for tensor in others}


def _usual(tensor: TensorSpec, size: tuple[int, int]) -> Any:
    shape = _single(tensor)
    sides = [max(1, side) for side in shape]
    # One number fills an input: what would be a screenful of zeros is shown as a single one.
    array = np.zeros(sides if math.prod(sides) <= _MOST_SHOWN else [])
    if tensor.name in _ONES:
        array += 1
    elif tensor.name in (*_HEIGHT_WIDTH, *_WIDTH_HEIGHT) and shape[-1:] == (2,) and min(size) > 0:
        array[...] = size if tensor.name in _HEIGHT_WIDTH else size[::-1]
    if tensor.datatype is DataType.BOOL:
        return array.astype(bool).tolist()
    return (array if tensor.datatype in _FLOATS else array.astype(int)).tolist()


_MOST_SHOWN = 12
_FLOATS = (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64)


def _single(tensor: TensorSpec) -> tuple[int, ...]:
    """The input's shape for one sample."""
    return (1, *tensor.shape[1:]) if tensor.shape[:1] == (-1,) else tensor.shape


def _array(tensor: TensorSpec, value: Any, size: tuple[int, int]) -> Array:
    given = _numbers(tensor, value, size)
    shape = _single(tensor)
    if given.ndim == 0:
        given = np.full([max(1, side) for side in shape], given)
    elif given.ndim == len(shape) - 1 and shape[0] == 1:
        given = given[np.newaxis]
    fits = given.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, given.shape, strict=True)
    )
    if not fits:
        raise _unfit(
            tensor, value, f"has shape {list(np.shape(value))}, and the input needs {list(shape)}",
            size,
        )  # fmt: skip
    array = given.astype(tensor.datatype.numpy, order="C")
    array.setflags(write=False)
    return array


def _numbers(tensor: TensorSpec, value: Any, size: tuple[int, int]) -> Array:
    """The value as an array that the input's datatype can hold."""
    try:
        given = np.array(value)
    except ValueError:  # lists of different lengths
        given = np.array(None)
    if given.size == 0 or given.dtype.kind not in "biuf":
        raise _unfit(tensor, value, "must be a number, or a list of equally long lists", size)
    datatype = tensor.datatype
    if (given.dtype.kind == "b") != (datatype is DataType.BOOL):
        words = "true or false" if datatype is DataType.BOOL else "numbers"
        raise _unfit(tensor, value, f"must hold {words}", size)
    if not np.isfinite(given).all():
        raise _unfit(tensor, value, "must hold finite numbers", size)
    if datatype is not DataType.BOOL and datatype not in _FLOATS:
        limits = np.iinfo(datatype.numpy)
        if (given != np.rint(given)).any():
            raise _unfit(tensor, value, "must hold whole numbers", size)
        if given.min() < limits.min or given.max() > limits.max:
            raise _unfit(tensor, value, f"must lie in {limits.min}..{limits.max}", size)
    return given


def _unfit(tensor: TensorSpec, value: Any, fault: str, size: tuple[int, int]) -> PipelineInvalid:
    shape = [max(1, side) for side in _single(tensor)]
    flat = np.ravel(np.array(value, dtype=object))
    fitting = [item for item in flat.tolist() if _fits(item, tensor.datatype)]
    if len(fitting) == len(flat) == math.prod(shape):
        example = np.reshape(np.array(fitting, dtype=object), shape).tolist()
    else:
        example = _usual(tensor, size)
    return PipelineInvalid(
        f"[pipeline] constants: {tensor.name} = {_toml(value)} does not fit the model's input "
        f"{tensor}: it {fault}; write, with the model's own values: "
        f"constants = {_toml({tensor.name: example})}"
    )


def _fits(item: Any, datatype: DataType) -> bool:
    if datatype is DataType.BOOL or isinstance(item, bool):
        return datatype is DataType.BOOL and isinstance(item, bool)
    if not isinstance(item, int | float) or not math.isfinite(item):
        return False
    if datatype in _FLOATS:
        return True
    limits = np.iinfo(datatype.numpy)
    return item == int(item) and limits.min <= item <= limits.max


def _toml(value: Any) -> str:
    """A value as TOML shows it; short keys stay bare."""
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        shown = [_toml(item) for item in value[:9]]
        return "[" + ", ".join([*shown, "..."] if len(value) > len(shown) else shown) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name)
