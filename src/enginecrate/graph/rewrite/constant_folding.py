"""Compute what does not depend on the inputs once, instead of in every run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from enginecrate.graph.onnx.model import LARGEST_PROTO, ROOM
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.onnx.weights import without_weights
from enginecrate.graph.rewrite.constant_operators import FOLDABLE, evaluate
from enginecrate.graph.rewrite.tidy import remove_unused
from enginecrate.values import Array

__all__ = ["fold_constants"]

_SMALL = 1 << 20
_GROWTH = 4
"""A constant may take this many times the bytes of what it is made from, or `_SMALL` bytes: FP32
weights that are stored in FP16 or INT8 become weights, and a tensor of zeros stays a rule."""

Dims = tuple[int | None, ...]


def fold_constants(proto: onnx.ModelProto, most_bytes: int = LARGEST_PROTO - ROOM) -> None:
    """Replace nodes of the main graph by the constants that they compute, in place.

    Among them the shapes of tensors, as far as the inputs leave them no choice. Q/DQ pairs stay,
    and so do nodes that write an output of the model.

    Args:
        proto: a model with all of its weights.
        most_bytes: what it may grow to; what does not fit any more stays as it is.
    """
    found = True
    while found:
        found = _fold_once(proto, _known_dims(proto), most_bytes - proto.ByteSize())
        remove_unused(proto.graph)


def _fold_once(proto: onnx.ModelProto, dims: Mapping[str, Dims], room: int) -> bool:
    """True when a constant was found. With it, more shapes may be known.

    room: bytes that all new constants may have together.
    """
    graph, opset = proto.graph, opset_of(proto)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept: set[str] = {info.name for info in graph.output}
    shapes: dict[str, Dims] = {}
    nodes, found = [], False
    for node in graph.node:
        made = None
        if _is_foldable(node) and not kept.intersection(node.output):
            made = _constants_of(node, constants, dims, shapes, opset)
        size = sum(array.nbytes for array in made or ())
        if made is None or size > room:
            nodes.append(node)
            continue
        found, room = True, room - size
        for name, array in zip(node.output, made, strict=False):
            if name:
                tensor = numpy_helper.from_array(array, name)
                graph.initializer.append(tensor)
                constants[name] = tensor
    del graph.node[:]
    graph.node.extend(nodes)
    return found


def _is_foldable(node: onnx.NodeProto) -> bool:
    return node.op_type in FOLDABLE and node.domain in ("", "ai.onnx")


def _constants_of(
    node: onnx.NodeProto,
    constants: Mapping[str, TensorProto],
    dims: Mapping[str, Dims],
    shapes: dict[str, Dims],
    opset: int,
) -> list[Array] | None:
    """The outputs of a node, if they are always the same.

    shapes: what Shape nodes compute that know only a part of it; grows.
    """
    if node.op_type in ("Shape", "Size") and node.input[0] in dims:
        return _of_shape(node, dims[node.input[0]], shapes)
    attributes = {one.name: _value(one) for one in node.attribute}
    known = shapes.get(node.input[0]) if node.input else None
    if known is not None and node.op_type == "Gather" and node.input[1] in constants:
        return _picked(known, _array(constants, node.input[1]))
    if any(name and not _is_plain(constants.get(name)) for name in node.input):
        return None
    inputs = [_array(constants, name) if name else None for name in node.input]
    given = sum(array.nbytes for array in inputs if array is not None)
    return evaluate(node.op_type, inputs, attributes, opset, max(_SMALL, _GROWTH * given))


def _of_shape(node: onnx.NodeProto, dims: Dims, shapes: dict[str, Dims]) -> list[Array] | None:
    limits = {one.name: one.i for one in node.attribute}
    wanted = dims[limits.get("start", 0) : limits.get("end")]
    sizes = [size for size in wanted if size is not None]
    if len(sizes) == len(wanted):
        number = math.prod(sizes) if node.op_type == "Size" else sizes
        return [np.asarray(number, np.int64)]
    if node.op_type == "Shape":
        shapes[node.output[0]] = wanted
    return None


def _picked(known: Dims, places: Array) -> list[Array] | None:
    """The sizes at these places, when all of them are known."""
    try:
        sizes = [known[place] for place in places.flatten().tolist()]
    except IndexError:
        return None
    if None in sizes:
        return None
    return [np.asarray(sizes, np.int64).reshape(places.shape)]


def _known_dims(proto: onnx.ModelProto) -> dict[str, Dims]:
    """The sizes of tensors, as they follow from the inputs.

    What an exporter noted about inner tensors and outputs does not count: it is from the example
    that was exported, and people make inputs dynamic later.
    """
    light = without_weights(proto)
    del light.graph.value_info[:]
    for info in light.graph.output:
        info.type.tensor_type.ClearField("shape")
    for info in light.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_value <= 0:  # some exporters write -1 or 0 for a size that is free
                dim.ClearField("dim_value")
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {
        info.name: tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
            for dim in info.type.tensor_type.shape.dim
        )
        for info in (*inferred.input, *inferred.value_info)
        if info.type.tensor_type.HasField("shape")
    }


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _is_plain(tensor: TensorProto | None) -> bool:
    return tensor is not None and not tensor.external_data


def _array(constants: Mapping[str, TensorProto], name: str) -> Array:
    return np.asarray(numpy_helper.to_array(constants[name]))
