"""A ResNet-50 (He et al., "Deep Residual Learning for Image Recognition", table 1) in ONNX."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tiny_models import constant, model, value

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, width of their 3x3 convolutions, stride of the first block."""


class _Writer:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def weight(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        self.constants.append(constant(name, values))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def convolution(
        self, x: str, name: str, shape: tuple[int, int, int], stride: int, gain: float = 1.0
    ) -> str:
        """Without bias, and a batch normalisation behind it."""
        into, out, size = shape
        scale = gain * (2 / (into * size * size)) ** 0.5
        weight = self.weight(f"{name}.w", (out, into, size, size), scale)
        pad = size // 2
        y = self.node("Conv", [x, weight], f"{name}.conv", kernel_shape=[size, size],
                      strides=[stride, stride], pads=[pad] * 4)  # fmt: skip
        ones, zeros = np.ones(out, np.float32), np.zeros(out, np.float32)
        transfers = self.random.standard_normal(out, dtype=np.float32) * np.float32(0.1)
        for part, array in (("g", ones), ("b", transfers), ("m", zeros), ("v", ones)):
            self.constants.append(constant(f"{name}.{part}", array))
        statistics = [f"{name}.{part}" for part in "gbmv"]
        return self.node("BatchNormalization", [y, *statistics], name)

    def block(self, x: str, name: str, into: int, width: int, stride: int) -> str:
        """Three convolutions and a shortcut; the gain keeps the sums from growing."""
        y = self.node("Relu", [self.convolution(x, f"{name}.1", (into, width, 1), 1)], f"{name}.r1")
        y = self.convolution(y, f"{name}.2", (width, width, 3), stride)
        y = self.node("Relu", [y], f"{name}.r2")
        y = self.convolution(y, f"{name}.3", (width, 4 * width, 1), 1, gain=0.3)
        if into != 4 * width:
            x = self.convolution(x, f"{name}.0", (into, 4 * width, 1), stride, gain=0.7)
        return self.node("Relu", [self.node("Add", [x, y], f"{name}.sum")], f"{name}.out")


def resnet50(seed: int = 0) -> onnx.ModelProto:
    """With random weights: image [batch, 3, 224, 224] to logits [batch, 1000]."""
    writer = _Writer(seed)
    x = writer.node("Relu", [writer.convolution("image", "stem", (3, 64, 7), 2)], "stem.out")
    x = writer.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    into = 64
    for stage, (blocks, width, stride) in enumerate(STAGES):
        for number in range(blocks):
            step = stride if number == 0 else 1
            x = writer.block(x, f"s{stage}.{number}", into, width, step)
            into = 4 * width
    x = writer.node("Flatten", [writer.node("GlobalAveragePool", [x], "mean")], "flat")
    weight = writer.weight("fc.w", (into, 1000), into**-0.5)
    bias = writer.weight("fc.b", (1000,), 0.1)
    writer.nodes.append(helper.make_node("Gemm", [x, weight, bias], ["logits"], "fc"))
    image = value("image", ["batch", 3, 224, 224])
    return model(writer.nodes, [image], [value("logits", ["batch", 1000])], writer.constants)
