"""The operators that stand a narrow floating-point type, and those that do not, with reasons.

After NVIDIA's guides "Train With Mixed Precision" (which operations need FP32) and "Working with
Quantized Types / Strongly Typed Networks" (TensorRT documentation), and the operators' own
definitions in the ONNX specification.
"""

from __future__ import annotations

__all__ = ["EXACT", "READS_ANY_FLOAT", "SATURATING", "SENSITIVE", "WITHOUT_BF16"]

_SUM = "it sums many values: the sum may leave FP16's range, or lose the small ones"
_VARIANCE = "it squares and sums to find a variance, and divides by its root"
_EXPONENT = "its result grows so fast that it leaves FP16's range (exp(12) is 162,755)"
_INVERSE = "small inputs give results beyond FP16's range"
_POSITION = "it computes with coordinates, and FP16 has no halves of pixels beyond 1,024"
_RANDOM = "its numbers would be others in another datatype"
_CURVE = "large inputs (angles, radians) keep too few digits"

_EXPONENTIALS = {
    "Exp": _EXPONENT,
    "Pow": _EXPONENT,
    "Sinh": _EXPONENT,
    "Cosh": _EXPONENT,
    "Softplus": _EXPONENT,
    "Softmax": _SUM,
    "LogSoftmax": _SUM,
    "Log": "values near zero turn into large ones, and FP16 cannot tell values near zero apart",
    "Reciprocal": _INVERSE,
    "Sqrt": "it mostly takes the root of a variance, whose small values FP16 cannot tell apart",
    "Tan": _INVERSE,
    "Sin": _CURVE,
    "Cos": _CURVE,
}

_REDUCTIONS = dict.fromkeys(
    (
        "CumProd", "CumSum", "GlobalAveragePool", "GlobalLpPool", "LpPool", "ReduceL1", "ReduceL2",
        "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum",
        "ReduceSumSquare",
    ),
    _SUM,
)  # fmt: skip

_NORMALISATIONS = dict.fromkeys(
    (
        "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LRN",
        "LayerNormalization", "LpNormalization", "MeanVarianceNormalization", "RMSNormalization",
    ),
    _VARIANCE,
)  # fmt: skip

_COORDINATES = dict.fromkeys(
    ("AffineGrid", "GridSample", "MaxRoiPool", "NonMaxSuppression", "Range", "RoiAlign"), _POSITION
)

_RANDOMS = dict.fromkeys(
    ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"), _RANDOM
)

_QUANTISATION = dict.fromkeys(
    ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"),
    "its scale divides all values: an error there is an error everywhere",
)

SENSITIVE: dict[str, str] = {
    **_EXPONENTIALS,
    **_REDUCTIONS,
    **_NORMALISATIONS,
    **_COORDINATES,
    **_RANDOMS,
    **_QUANTISATION,
}
"""Operators that stay in FP32, each with the reason."""

WITHOUT_BF16 = dict.fromkeys(
    ("BlackmanWindow", "DeformConv", "HammingWindow", "HannWindow", "HardSwish", "Mish", "STFT"),
    "TensorRT does not take this operator in BF16",
)
"""By onnx-tensorrt docs/operators.md of 10.15; HardSwish by TensorRT-RTX 1.7.1's own message."""

EXACT = frozenset({
    "Abs", "ArgMax", "ArgMin", "Ceil", "Clip", "Compress", "Concat", "DepthToSpace", "Equal",
    "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater",
    "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual", "Max", "MaxPool", "Min",
    "Neg", "NonZero", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence",
    "Round", "Scatter", "ScatterElements", "ScatterND", "Sign", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that compute nothing that rounds: they take the precision of what they are given."""

READS_ANY_FLOAT = frozenset({"Cast", "Shape", "Size"})
"""Operators that take a float of any width without a cast before them."""

SATURATING = {"Clip": (1, 2)}
"""Inputs by index that may be cut to the type's range: a bound beyond it bounds nothing."""
