"""The models of the comparison, made here: no download, the same weights every time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

__all__ = ["cnn", "identity", "perceptron", "session"]

WIDTH = 512
STAGES = ((48, 2), (64, 2), (128, 2), (192, 1), (256, 2), (384, 2))
"""Channels and stride of each convolution."""


def session(path: Path) -> onnxruntime.InferenceSession:
    """The bare engine, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def identity(path: Path, shape: tuple[int, ...]) -> None:
    """The output is the input."""
    _save(path, [helper.make_node("Identity", ["x"], ["y"])], {}, shape, shape)


def perceptron(path: Path, wanted_ms: float) -> float:
    """Layers of 512 x 512, as many as take about so long on this machine; the time in ms."""
    layers = 4
    for _ in range(4):
        _layers(path, layers)
        taken = _milliseconds(path, (1, 16))
        if abs(taken - wanted_ms) < 0.1 * wanted_ms:
            break
        layers = max(1, round(layers * wanted_ms / taken))
    return taken


def cnn(path: Path) -> None:
    """About 0.93 GFLOP (0.46 G multiply-adds) for a picture of 224 x 224: convolutions and ReLU."""
    chance = np.random.default_rng(3)
    nodes, weights = [], {}
    channels, name = 3, "x"
    for number, (wide, stride) in enumerate(STAGES):
        scale = (2 / (channels * 9)) ** 0.5
        weights[f"w{number}"] = chance.normal(0, scale, (wide, channels, 3, 3))
        nodes += [
            helper.make_node(
                "Conv", [name, f"w{number}"], [f"c{number}"], pads=[1] * 4, strides=[stride] * 2
            ),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        channels, name = wide, f"r{number}"
    weights["head"] = chance.normal(0, 0.05, (channels, 1000))
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["y"]),
    ]
    _save(path, nodes, weights, (3, 224, 224), (1000,))


def _layers(path: Path, count: int) -> None:
    chance = np.random.default_rng(2)
    nodes, weights, name, size = [], {}, "x", 16
    for number in range(count):
        weights[f"w{number}"] = chance.normal(0, (2 / size) ** 0.5, (size, WIDTH))
        nodes += [
            helper.make_node("MatMul", [name, f"w{number}"], [f"m{number}"]),
            helper.make_node("Relu", [f"m{number}"], [f"r{number}"]),
        ]
        name, size = f"r{number}", WIDTH
    weights["head"] = chance.normal(0, 0.05, (size, 16))
    nodes.append(helper.make_node("MatMul", [name, "head"], ["y"]))
    _save(path, nodes, weights, (16,), (16,))


def _milliseconds(path: Path, shape: tuple[int, ...]) -> float:
    engine = session(path)
    x = np.random.default_rng(1).random(shape, np.float32)
    times = []
    for _ in range(400):
        start = time.perf_counter()
        engine.run(["y"], {"x": x})
        times.append(time.perf_counter() - start)
    return float(np.quantile(times, 0.1)) * 1e3  # the median also has what others do


def _save(path, nodes, weights, inner, outer) -> None:
    graph = helper.make_graph(
        nodes,
        "peer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *outer])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
