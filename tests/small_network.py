"""A small network to quantise, and the ranges of its activations."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.ranges import Range
from graph_tools import execute, wrap
from tiny_models import constant, model, value

RNG = np.random.default_rng(7)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    scale = 1 / math.sqrt(math.prod(shape[1:]))
    return constant(name, (RNG.standard_normal(shape) * scale).astype(np.float32))


def residual_network(opset: int = 17) -> OnnxModel:
    """Two convolutions with a skip around the second one, a pool and a classifier."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "second", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["sum"], "skip"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], "score", transB=1),
    ]
    constants = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        weights("w2", 8, 8, 3, 3),
        weights("b2", 8),
        weights("w3", 5, 8),
        weights("b3", 5),
    ]
    image, logits = value("image", ["n", 3, 8, 8]), value("logits", ["n", 5])
    return wrap(model(nodes, [image], [logits], constants, opset=opset))


def image_feed(model_: OnnxModel, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.standard_normal([max(size, 1) for size in spec.shape]).astype(np.float32)
        for spec in model_.inputs
    }


def measured(model_: OnnxModel, seeds: range = range(8)) -> dict[str, Range]:
    """The range of every FP32 tensor over some random inputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model_.proto)
    names = [name for node in proto.graph.node for name in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    found: dict[str, Range] = {}
    for seed in seeds:
        feed = image_feed(model_, seed)
        for name, array in [*feed.items(), *zip(names, execute(proto, feed), strict=True)]:
            low, high = float(array.min()), float(array.max())
            old = found.get(name, Range(low, high))
            found[name] = Range(min(old.low, low), max(old.high, high))
    return found
