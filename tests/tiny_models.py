"""Tiny ONNX models, made while the tests run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def value(name: str, shape: Sequence[int | str] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    ir_version: int = 9,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def relu(*, opset: int = 17, ir_version: int = 9) -> onnx.ModelProto:
    """y = max(x, 0), x: [n, 3]."""
    node = helper.make_node("Relu", ["x"], ["y"])
    return model(
        [node], [value("x", ["n", 3])], [value("y", ["n", 3])], opset=opset, ir_version=ir_version
    )


def identity(kind: int) -> onnx.ModelProto:
    """y = x of any datatype, x: [n, 2]."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [value("x", ["n", 2], kind)], [value("y", ["n", 2], kind)])


def wordy_linear(seed: int = 0) -> onnx.ModelProto:
    """y = x @ w + b, x: [n, 3], y: [n, 4], in more nodes than it needs: half of it folds away."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Identity", ["x"], ["x1"], "copy"),
        helper.make_node("Add", ["w_half", "w_half"], ["w"], "double"),
        helper.make_node("MatMul", ["x1", "w"], ["xw"], "product"),
        helper.make_node("Identity", ["xw"], ["xw1"], "copy_again"),
        helper.make_node("Add", ["xw1", "b"], ["y"], "bias"),
    ]
    constants = [
        constant("w_half", rng.standard_normal((3, 4), dtype=np.float32)),
        constant("b", rng.standard_normal(4, dtype=np.float32)),
    ]
    return model(nodes, [value("x", ["n", 3])], [value("y", ["n", 4])], constants)


def color_classifier(turn: int = 0) -> onnx.ModelProto:
    """Tells red, green and blue photos apart: image [batch, 3, 8, 8] to logits [batch, 3].

    With `turn` other than 0 only the weights change, and it calls every colour by a wrong name.
    """
    weight = 2 * np.roll(np.eye(3), turn, axis=1)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Identity", ["flat"], ["flat1"], "copy"),
        helper.make_node("Gemm", ["flat1", "weight", "bias"], ["logits"], "score"),
    ]
    constants = [
        constant("weight", weight.astype(np.float32)),
        constant("bias", np.zeros(3, np.float32)),
    ]
    image = value("image", ["batch", 3, 8, 8])
    return model(nodes, [image], [value("logits", ["batch", 3])], constants)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path
