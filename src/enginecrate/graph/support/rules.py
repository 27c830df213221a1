"""Nodes that backends do not take although they know the operator, as data.

Sources: onnx-tensorrt docs/operators.md (column "Restrictions") of 8.5 and 10.15; the messages of
TensorRT-RTX 1.7.1, whose parser and builder were given each of these nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import onnx
from onnx import TensorProto, numpy_helper

from enginecrate.graph.onnx.shapes import TensorType

__all__ = ["BACKENDS", "DATATYPES", "OPSETS", "RULES", "DatatypeRule", "Level", "NodeView", "Rule"]

BACKENDS = ("tensorrt-8.6", "tensorrt-10", "tensorrt-11", "tensorrt_rtx", "onnxruntime")

Level = Literal["refused", "caution"]

_TENSORRT = frozenset(BACKENDS[:4])
_FULL = frozenset(BACKENDS[:3])
_NEW = frozenset(BACKENDS[1:4])
_OLD = frozenset(BACKENDS[:1])


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node with what is known of its surroundings."""

    node: onnx.NodeProto
    types: Mapping[str, TensorType]
    constants: Mapping[str, TensorProto]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Its value as Python has it: bytes for text."""
        for candidate in self.node.attribute:
            if candidate.name == name:
                return onnx.helper.get_attribute_value(candidate)
        return default

    def given(self, index: int) -> str:
        """The name of an input; `""` when it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def value(self, index: int) -> Any:
        """A constant input as an array, or `None`."""
        tensor = self.constants.get(self.given(index))
        if tensor is None or tensor.external_data:
            return None
        return numpy_helper.to_array(tensor)

    def rank(self) -> int | None:
        """Number of dimensions of the first input."""
        known = self.types.get(self.given(0))
        return len(known.shape) if known is not None and known.shape is not None else None


@dataclass(frozen=True, slots=True)
class Rule:
    """`applies` says whether a node is one that these backends do not take."""

    operators: frozenset[str]
    backends: frozenset[str]
    level: Level
    applies: Callable[[NodeView], bool]
    why: str
    cure: str


@dataclass(frozen=True, slots=True)
class DatatypeRule:
    """A datatype that these backends do not take.

    where: `borders`: the model's inputs and outputs; `inside`: its nodes.
    passing: operators that take it all the same.
    """

    kinds: frozenset[int]
    backends: frozenset[str]
    level: Level
    why: str
    cure: str
    where: frozenset[str] = frozenset({"borders", "inside"})
    passing: frozenset[str] = frozenset()


def _training(view: NodeView) -> bool:
    if view.node.op_type == "Dropout":
        value = view.value(2)
        return bool(view.given(2)) and (value is None or bool(value.any()))
    return bool(view.attribute("training_mode", 0))


def _shifted(view: NodeView) -> bool:
    value = view.value(2)
    return bool(view.given(2)) and (value is None or bool(value.astype(float).any()))


def _variable(*indices: int) -> Callable[[NodeView], bool]:
    def applies(view: NodeView) -> bool:
        return any(view.given(index) and view.value(index) is None for index in indices)

    return applies


def _unlike(name: str, *accepted: Any) -> Callable[[NodeView], bool]:
    """True when the attribute is there and has another value than these."""

    def applies(view: NodeView) -> bool:
        value = view.attribute(name)
        return value is not None and value not in accepted

    return applies


def _dilated(view: NodeView) -> bool:
    return any(one != 1 for one in view.attribute("dilations", ()))


def _many(view: NodeView) -> bool:
    value = view.value(1)
    return value is not None and bool((value > _TOPK).any())


def _always(_: NodeView) -> bool:
    return True


_TOPK = 3840
_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_REDUCE = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
_RESIZE = frozenset({"Resize"})
_INFERENCE = "export the model for inference (PyTorch: model.eval() before the export)"
_CONSTANT = "export it with this input as a constant, or with a fixed shape"

RULES: tuple[Rule, ...] = (
    Rule(
        frozenset({"BatchNormalization", "Dropout"}), _TENSORRT, "refused", _training,
        "it is in training mode", _INFERENCE,
    ),
    Rule(
        frozenset({"Dropout"}), frozenset({"onnxruntime"}), "caution", _training,
        "it is in training mode, so that each run gives other numbers", _INFERENCE,
    ),
    Rule(
        frozenset({"QuantizeLinear", "DequantizeLinear"}), _TENSORRT, "refused", _shifted,
        "its zero point is not a constant zero: TensorRT quantises symmetrically",
        "start from the floating-point model: enginecrate quantises it symmetrically for TensorRT",
    ),
    Rule(
        frozenset({"MaxPool"}), _TENSORRT, "refused",
        lambda view: len(view.node.output) > 1 and bool(view.node.output[1]),
        "its second output, the indices, is not supported",
        "export the model without the indices (and without the MaxUnpool that reads them)",
    ),
    Rule(
        _POOLS, _TENSORRT, "refused", _dilated, "it is dilated", "use a pooling without dilations",
    ),
    Rule(
        _RESIZE, _TENSORRT, "refused",
        _unlike(
            "coordinate_transformation_mode",
            b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric",
            b"align_corners",
        ),
        "its coordinate transformation mode is not supported",
        "export it with half_pixel, asymmetric or align_corners",
    ),
    Rule(
        _RESIZE, _TENSORRT, "refused", _unlike("antialias", 0),
        "antialiasing is not supported", "export it with antialias off",
    ),
    Rule(
        _RESIZE, _TENSORRT, "refused", _unlike("keep_aspect_ratio_policy", b"stretch"),
        "only the aspect ratio policy `stretch` is supported", "give it sizes that fit",
    ),
    Rule(
        _RESIZE, _FULL, "caution", lambda view: view.attribute("mode") == b"cubic",
        "NVIDIA's list of modes names nearest and linear only",
        "build it to be sure, or export it with mode linear",
    ),
    Rule(
        frozenset({"ScatterND"}), _TENSORRT, "refused", _unlike("reduction", b"none"),
        "a reduction is not supported", "export it without a reduction",
    ),
    Rule(
        frozenset({"TopK"}), _TENSORRT, "refused", _many,
        f"K is larger than {_TOPK}", f"keep at most {_TOPK} values",
    ),
    Rule(
        frozenset({"TopK"}), _FULL, "refused", lambda view: view.attribute("sorted", 1) != 1,
        "unsorted results are not supported", "export it with sorted=1",
    ),
    Rule(
        _REDUCE, _TENSORRT, "refused", _variable(1), "its axes are no constant", _CONSTANT,
    ),
    Rule(
        frozenset({"CumSum", "OneHot", "Squeeze", "Unsqueeze"}), _TENSORRT, "caution",
        _variable(1), "its second input must be known when the plan is built", _CONSTANT,
    ),
    Rule(
        _RECURRENT, _FULL, "refused",
        lambda view: bool(view.attribute("layout", 0) or view.attribute("input_forget", 0)),
        "`layout` and `input_forget` must be 0", "export it with the defaults",
    ),
    Rule(
        frozenset({"GridSample"}), _FULL, "refused", lambda view: view.rank() not in (None, 4),
        "its input must have four dimensions", "reshape it to four dimensions",
    ),
    Rule(
        frozenset({"Einsum"}), _OLD, "refused", lambda view: b"..." in view.attribute("equation"),
        "an ellipsis is not supported", "write the equation with named indices",
    ),
    Rule(
        frozenset({"NonMaxSuppression", "NonZero"}), _FULL, "caution", _always,
        "the size of its result depends on the data, so that buffers are made while it runs",
        "export the model without its postprocessing: a decoder of the pipeline does this",
    ),
    Rule(
        frozenset({"Loop", "Scan"}), _TENSORRT, "caution", _always,
        "what it carries must keep its shape, and what it collects must have a known length",
        "unroll the loop when you export the model, if the number of turns is fixed",
    ),
    Rule(
        frozenset({"If"}), _TENSORRT, "caution", _always,
        "both branches must give results of the same rank",
        "export the model with the branch that is used, if it is always the same",
    ),
    Rule(
        frozenset({
            "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
        }), _TENSORRT, "caution", _always,
        "its seed is ignored, so that results differ from those of the model",
        "make the random numbers outside, and give them as an input",
    ),
)  # fmt: skip

_ODD_INTEGERS = frozenset(
    {TensorProto.INT16, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)
_FP8 = frozenset({
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
})  # fmt: skip
_QDQ = frozenset({"Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})

DATATYPES: tuple[DatatypeRule, ...] = (
    DatatypeRule(
        _ODD_INTEGERS, _TENSORRT, "refused", "is not supported",
        "export the model with INT32 or INT64 instead",
    ),
    DatatypeRule(
        frozenset({TensorProto.STRING}), _TENSORRT, "refused", "is not supported",
        "turn texts into numbers in the pipeline",
    ),
    DatatypeRule(
        frozenset({TensorProto.COMPLEX64, TensorProto.COMPLEX128}), frozenset(BACKENDS), "refused",
        "is not supported", "export real and imaginary part as two tensors",
    ),
    DatatypeRule(
        frozenset({TensorProto.UINT8}), _TENSORRT, "refused",
        "is taken as an input or output of the model only",
        "cast to FP32 before this node (Cast directly behind the input)",
        where=frozenset({"inside"}), passing=_QDQ,
    ),
    DatatypeRule(
        frozenset({TensorProto.BFLOAT16}) | _FP8 | {TensorProto.INT4, TensorProto.UINT4}, _OLD,
        "refused", "came with TensorRT 9 or 10",
        "use FP16 or INT8 for this stack",
    ),
    DatatypeRule(
        frozenset({TensorProto.BFLOAT16}), frozenset({"onnxruntime"}), "refused",
        "has no CPU kernel for most operators, and NumPy has no such type",
        "use FP32 or FP16 for this backend",
    ),
    DatatypeRule(
        frozenset({TensorProto.DOUBLE}), _TENSORRT, "caution",
        "is computed in FP32, and values beyond its range are cut",
        "export the model in FP32",
    ),
    DatatypeRule(
        frozenset({TensorProto.INT64}), _OLD, "caution",
        "becomes INT32, and values beyond its range are cut",
        "nothing, if all values fit; else export the model with INT32",
        where=frozenset({"borders"}),
    ),
)  # fmt: skip

OPSETS: dict[str, tuple[int, int | None]] = {
    "tensorrt-8.6": (9, 17),
    "tensorrt-10": (9, 24),
    "tensorrt-11": (9, 25),
    "tensorrt_rtx": (9, None),
    "onnxruntime": (7, None),
}
"""Oldest and newest opset by backend; `None`: no limit is known (RTX 1.7.1 parsed 7 to 27)."""
