"""The ONNX operators that a backend does not take, as data.

Sources: `tensorrt-8.6`, onnx-tensorrt docs/operators.md of 8.5 with docs/Changelog.md of 8.6;
`tensorrt-10` and `tensorrt-11`, docs/operators.md of 10.15 (no later list is published; 11 is
taken to be the same); `tensorrt_rtx`, what `OnnxParser.supports_operator` of 1.7.1 answers, and
what its builder refused when it was tried.
"""

from __future__ import annotations

__all__ = ["CURES", "UNSUPPORTED_OPERATORS"]

_SEQUENCES = {
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt",
    "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SequenceMap", "SplitToSequence",
}  # fmt: skip

_TEXTS = {
    "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer",
}  # fmt: skip

_INTEGERS = {
    "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "ConvInteger",
    "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
}  # fmt: skip

_NOWHERE = _SEQUENCES | _TEXTS | _INTEGERS | {
    "AffineGrid", "Bernoulli", "BitCast", "CenterCropPad", "Col2Im", "Compress", "CumProd", "DFT",
    "Det", "ImageDecoder", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial",
    "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "SwiGLU", "Unique",
}  # fmt: skip

_AFTER_8_6 = {
    "Attention", "BlackmanWindow", "CastLike", "DeformConv", "Gelu", "HammingWindow", "HannWindow",
    "Hardmax", "Mish", "RMSNormalization", "RotaryEmbedding", "STFT", "Swish", "TensorScatter",
}  # fmt: skip

UNSUPPORTED_OPERATORS: dict[str, frozenset[str]] = {
    "tensorrt-8.6": frozenset(_NOWHERE | _AFTER_8_6),
    "tensorrt-10": frozenset(_NOWHERE),
    "tensorrt-11": frozenset(_NOWHERE),
    "tensorrt_rtx": frozenset(_NOWHERE | {"NonMaxSuppression", "NonZero", "RoiAlign"}),
    "onnxruntime": frozenset({"ImageDecoder"}),
}
"""By backend. onnxruntime has a CPU kernel for all others (its docs/OperatorKernels.md)."""

_QUANTISED = (
    "export the model in floating point: enginecrate inserts QuantizeLinear and DequantizeLinear "
    "pairs, which this backend takes"
)
_OUTSIDE = "take it out of the model, and do this in the pipeline"

CURES: dict[str, str] = {
    **dict.fromkeys(
        ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
        _QUANTISED,
    ),
    **dict.fromkeys(_TEXTS | {"ImageDecoder"}, _OUTSIDE),
    **dict.fromkeys(
        ("NonMaxSuppression", "NonZero"),
        "export the model without its postprocessing: a decoder of the pipeline does this",
    ),
    **dict.fromkeys(
        ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"),
        "export the model for inference, without its loss",
    ),
}
"""The cure for an operator; for all others it is the general one."""
