"""Fold batch normalisation into the convolution before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from enginecrate.graph.onnx.names import fresh_name
from enginecrate.graph.rewrite.tidy import captured_names, remove_unused
from enginecrate.values import Array

__all__ = ["fold_batch_normalisation"]

_EPSILON = 1e-5
"""Default of BatchNormalization's attribute (ONNX operators)."""


def fold_batch_normalisation(graph: onnx.GraphProto) -> None:
    """Replace `BN(conv(x))` by one convolution with other weights, in place.

    With scale g, bias b, mean m, variance v: `w' = w * g / sqrt(v + epsilon)` by output channel,
    `b' = (b0 - m) * g / sqrt(v + epsilon) + b` (Ioffe and Szegedy 2015, section 3.1), computed in
    float64. Only where all of them are FP32 constants, and nobody else reads what the
    convolution writes.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {info.name for info in graph.output} | captured_names(graph)
    readers = Counter(name for node in graph.node for name in node.input)
    convolutions = {
        node.output[0]: node
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose") and node.domain in ("", "ai.onnx")
    }
    for node in graph.node:
        if node.op_type != "BatchNormalization" or not node.input:
            continue
        source = node.input[0]
        conv = convolutions.get(source)
        alone = readers[source] == 1 and source not in fixed
        if conv is not None and alone and _is_inference(node, readers):
            _fold(graph, conv, node, constants)
    remove_unused(graph)


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
    weight, scale, shift, mean, variance, *rest = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in names
    )
    epsilon = next((one.f for one in norm.attribute if one.name == "epsilon"), _EPSILON)
    factor = scale / np.sqrt(variance + epsilon)
    bias = ((rest[0] if rest else 0.0) - mean) * factor + shift
    taken = set(constants)
    made = []
    for array, wanted in (
        (_scaled(conv, weight, factor), f"{conv.input[1]}_folded"),
        (bias, f"{bias_name or conv.input[1] + '_bias'}_folded"),
    ):
        name = fresh_name(wanted, taken | {tensor.name for tensor in graph.initializer})
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
        made.append(name)
    conv.input[:] = [conv.input[0], *made]
    old = conv.output[0]
    conv.output[0] = norm.output[0]
    norm.input[0], norm.output[0] = norm.output[0], f"{old} (unused)"


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
