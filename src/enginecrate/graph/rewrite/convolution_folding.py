"""Fold what stands behind a convolution into it: an added constant, and batch normalisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from enginecrate.graph.onnx.names import fresh_name
from enginecrate.graph.rewrite.tidy import captured_names, remove_unused
from enginecrate.values import Array

__all__ = ["fold_batch_normalisation", "fold_bias"]

_EPSILON = 1e-5
"""Default of BatchNormalization's attribute (ONNX operators)."""


def fold_batch_normalisation(graph: onnx.GraphProto) -> None:
    """Replace `BN(conv(x))` by one convolution with other weights, in place.

    With scale g, bias b, mean m, variance v: `w' = w * g / sqrt(v + epsilon)` by output channel,
    `b' = (b0 - m) * g / sqrt(v + epsilon) + b` (Ioffe and Szegedy 2015, section 3.1), computed in
    float64. Only where all of them are FP32 constants, and no other node reads what the
    convolution writes.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    convolutions = _convolutions(graph, readers)
    for node in graph.node:
        if node.op_type != "BatchNormalization" or not node.input:
            continue
        conv = convolutions.get(node.input[0])
        if conv is not None and _is_inference(node, readers):
            _fold(graph, conv, node, constants)
    remove_unused(graph)


def fold_bias(graph: onnx.GraphProto) -> None:
    """Replace `conv(x) + b` by one convolution with a bias, in place.

    Only where all of them are FP32 constants, b has one number for each output channel, or for
    all of them, and no other node reads what the convolution writes.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    convolutions = _convolutions(graph, readers)
    for node in graph.node:
        if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
            continue
        for source, added in (node.input, reversed(node.input)):
            conv = convolutions.get(source)
            bias = None if conv is None else _bias(conv, added, constants)
            if conv is not None and bias is not None:
                conv.input[:] = [*conv.input[:2], _add(graph, bias, f"{added}_folded")]
                _take_place(conv, node, source)
                break
    remove_unused(graph)


def _convolutions(graph: onnx.GraphProto, readers: Counter[str]) -> dict[str, onnx.NodeProto]:
    """Convolutions whose output one node reads, by that output."""
    fixed = {info.name for info in graph.output} | captured_names(graph)
    return {
        node.output[0]: node
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose")
        and node.domain in ("", "ai.onnx")
        and readers[node.output[0]] == 1
        and node.output[0] not in fixed
    }


def _bias(conv: onnx.NodeProto, added: str, constants: Mapping[str, TensorProto]) -> Array | None:
    """The bias with what is added, one number for each output channel; `None`: it cannot be."""
    names = [conv.input[1], added, *(name for name in conv.input[2:3] if name)]
    if any(name not in constants or not _is_plain(constants[name]) for name in names):
        return None
    dims = constants[conv.input[1]].dims
    channels = _channels(conv, dims)
    shift, *given = (numpy_helper.to_array(constants[name]) for name in names[1:])
    shape = (1,) * (len(dims) - shift.ndim) + shift.shape
    if len(shape) != len(dims) or shift.size not in (1, channels) or shape[1] != shift.size:
        return None
    return np.asarray(np.broadcast_to(shift.reshape(-1), channels) + (given[0] if given else 0))


def _channels(conv: onnx.NodeProto, dims: Sequence[int]) -> int:
    """The number of output channels of a convolution whose weight has these dimensions."""
    if conv.op_type == "Conv":
        return dims[0]
    return dims[1] * next((one.i for one in conv.attribute if one.name == "group"), 1)


def _is_inference(node: onnx.NodeProto, readers: Counter[str]) -> bool:
    training = any(one.name == "training_mode" and one.i for one in node.attribute)
    return not training and not any(readers[name] for name in node.output[1:] if name)


def _fold(
    graph: onnx.GraphProto,
    conv: onnx.NodeProto,
    norm: onnx.NodeProto,
    constants: Mapping[str, TensorProto],
) -> None:
    bias_name = conv.input[2] if len(conv.input) > 2 else ""
    names = [conv.input[1], *norm.input[1:5], *([bias_name] if bias_name else [])]
    if any(name not in constants or not _is_plain(constants[name]) for name in names):
        return
    channels = _channels(conv, constants[conv.input[1]].dims)
    # `spatial = 0` of opset 7 has a number for each place, and no convolution can do that.
    if any(list(constants[name].dims) != [channels] for name in names[1:]):
        return
    weight, scale, shift, mean, variance, *rest = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in names
    )
    epsilon = next((one.f for one in norm.attribute if one.name == "epsilon"), _EPSILON)
    factor = scale / np.sqrt(variance + epsilon)
    bias = ((rest[0] if rest else 0.0) - mean) * factor + shift
    made = [
        _add(graph, _scaled(conv, weight, factor), f"{conv.input[1]}_folded"),
        _add(graph, bias, f"{bias_name or conv.input[1] + '_bias'}_folded"),
    ]
    conv.input[:] = [conv.input[0], *made]
    _take_place(conv, norm, conv.output[0])


def _add(graph: onnx.GraphProto, array: Array, wanted: str) -> str:
    """The name under which an FP32 constant was added."""
    name = fresh_name(wanted, {tensor.name for tensor in graph.initializer})
    graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return name


def _take_place(conv: onnx.NodeProto, node: onnx.NodeProto, source: str) -> None:
    """Let the convolution write what the node wrote, which is not read then."""
    conv.output[0] = node.output[0]
    node.input[:] = [conv.output[0] if name == source else name for name in node.input]
    node.output[0] = f"{source} (unused)"


def _is_plain(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and not tensor.external_data


def _scaled(conv: onnx.NodeProto, weight: Array, factor: Array) -> Array:
    """The weight times the factor of its output channel.

    Conv: [out, in / group, ...]; ConvTranspose: [in, out / group, ...].
    """
    ones = (1,) * (weight.ndim - 2)
    if conv.op_type == "Conv":
        return np.asarray(weight * factor.reshape(-1, 1, *ones))
    groups = next((one.i for one in conv.attribute if one.name == "group"), 1)
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return np.asarray((split * factor.reshape(groups, 1, -1, *ones)).reshape(weight.shape))
