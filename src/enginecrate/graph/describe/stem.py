"""The first steps of a graph: what a model does with an image before its first layer.

A model that scales or shifts pixel values itself, or moves their axes, says so in its first
operators; and its first convolution tells the number of channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

__all__ = ["InputStem", "input_stem"]

_MOST_STEPS = 64
_LARGEST_CONSTANT = 4096

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class InputStem:
    """The steps between an input and the first layer that has weights.

    first: the operator of that layer; empty when none was reached.
    moved: the axes were moved from height, width, channels to channels, height, width (or back).
    reversed: the order of the channels is turned round.
    channels: that the first layer takes; 0 when it does not tell.
    scale, shift: the layer gets `x * scale + shift`, channel by channel, or one number for all;
        `None` when the model leaves the values as they are, or does something else with them.
    operators: the steps in their order.
    """

    first: str = ""
    moved: bool = False
    reversed: bool = False
    channels: int = 0
    scale: tuple[float, ...] | None = None
    shift: tuple[float, ...] | None = None
    operators: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    scale: Floats = field(default_factory=lambda: np.ones(1))
    shift: Floats = field(default_factory=lambda: np.zeros(1))
    arithmetic: bool = False
    moved: bool = False
    reversed: bool = False
    steps: list[str] = field(default_factory=list)

    def stem(self, first: str = "", channels: int = 0) -> InputStem:
        size = max(len(self.scale), len(self.shift))
        scale = np.broadcast_to(self.scale, size).tolist()
        shift = np.broadcast_to(self.shift, size).tolist()
        known = self.arithmetic and size in (1, 3)
        return InputStem(
            first, self.moved, self.reversed, channels,
            tuple(scale) if known else None, tuple(shift) if known else None, tuple(self.steps),
        )  # fmt: skip


def input_stem(proto: onnx.ModelProto, name: str) -> InputStem:
    """Follow an input to the first layer that has weights. Runs nothing."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for one in dict.fromkeys(node.input):
            readers.setdefault(one, []).append(node)
    constants = _constants(proto.graph)
    walk = _Walk()
    for _ in range(_MOST_STEPS):
        following = [node for node in readers.get(name, ()) if node.op_type != "Shape"]
        if len(following) != 1:
            return walk.stem()
        node = following[0]
        if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
            index = 3 if node.op_type == "QLinearConv" else 1
            weight = constants.get(node.input[index])
            groups = next((one.i for one in node.attribute if one.name == "group"), 1)
            channels = weight.dims[1] * groups if weight is not None and len(weight.dims) else 0
            return walk.stem(node.op_type, channels)
        if not _step(node, name, constants, walk):
            return walk.stem(node.op_type)
        walk.steps.append(node.op_type)
        name = node.output[0]
    return walk.stem()


def _step(
    node: onnx.NodeProto, name: str, constants: dict[str, onnx.TensorProto], walk: _Walk
) -> bool:
    """Take one step; `False` when the node is none of those that prepare an image."""
    kind = node.op_type
    if kind in (
        "Squeeze",
        "Unsqueeze",
        "Split",
        "Clip",
        "Cast",
        "Identity",
        "Pad",
        "Resize",
        "QuantizeLinear",
        "DequantizeLinear",
    ):
        return True
    if kind == "Transpose":
        walk.moved = not walk.moved
        return True
    if kind == "Gather":
        indices = _numbers(node.input[1], constants)
        if indices is None or indices.tolist() not in ([0], [2, 1, 0]):
            return False
        walk.reversed ^= len(indices) == 3
        return True
    if kind == "Slice":
        steps = _numbers(node.input[4], constants) if len(node.input) > 4 else None
        if steps is not None and steps.tolist() == [-1]:
            walk.reversed = not walk.reversed
        return True
    if kind == "BatchNormalization" and node.input[0] == name:
        return _batch_normalization(node, constants, walk)
    if kind not in ("Add", "Div", "Mul", "Sub") or len(node.input) != 2:
        return False
    first = node.input[0] == name
    number = _numbers(node.input[1 if first else 0], constants)
    if number is None or (kind == "Div" and not first) or (kind == "Div" and not number.all()):
        return False
    _arithmetic(kind, number, first, walk)
    return True


def _arithmetic(kind: str, number: Floats, first: bool, walk: _Walk) -> None:
    walk.arithmetic = True
    if kind == "Add":
        walk.shift = walk.shift + number
    elif kind == "Sub":
        sign = 1.0 if first else -1.0
        walk.scale = walk.scale * sign
        walk.shift = (walk.shift - number) * sign
    else:
        factor = 1 / number if kind == "Div" else number
        walk.scale, walk.shift = walk.scale * factor, walk.shift * factor


def _batch_normalization(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], walk: _Walk
) -> bool:
    values = [_numbers(name, constants) for name in node.input[1:5]]
    known = [value for value in values if value is not None]
    if len(known) != 4 or any(len(value) not in (1, 3) for value in known):
        return False
    epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
    gain, bias, mean, variance = known
    if (variance + epsilon <= 0).any():
        return False
    factor = gain / np.sqrt(variance + epsilon)
    walk.arithmetic = True
    walk.scale = walk.scale * factor
    walk.shift = (walk.shift - mean) * factor + bias
    return True


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    found[node.output[0]] = attribute.t
    return found


def _numbers(name: str, constants: dict[str, onnx.TensorProto]) -> Floats | None:
    """A small constant, flat; `None` when it is not one number, or one for each channel."""
    tensor = constants.get(name)
    if tensor is None or any(size > _LARGEST_CONSTANT for size in tensor.dims):
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type == 8:
        return None
    try:
        array = np.asarray(numpy_helper.to_array(tensor), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None
    return array if len(array) in (1, 3) and np.isfinite(array).all() else None
