"""Heads with one row for each picture: classes, or something that only looks like them.

Class scores, embeddings, landmarks and measurements have the same shape. The last operators and the
numbers of two photos tell them apart, as far as they can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from enginecrate.builder.scaffold.guess.evidence import Output
from enginecrate.builder.scaffold.guess.guesses import Answers, Certainty
from enginecrate.graph.describe.metadata import ModelMetadata

__all__ = ["Row", "find_row", "judge_row"]

_EMBEDDING_WIDTHS = {
    64, 96, 128, 160, 192, 256, 320, 384, 480, 512, 576, 640, 768, 960, 1024, 1152, 1280, 1408,
    1536, 1664, 1792, 1920, 2048, 2208, 2304, 2560, 3072, 4096,
}  # fmt: skip
_LANDMARK_WIDTHS = {136, 196, 212, 956, 1404, 1434, 1872}
_LINEAR = {
    "Add", "AveragePool", "Conv", "Einsum", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "MatMul",
    "QGemm", "QLinearAdd", "QLinearConv", "QLinearGlobalAveragePool", "QLinearMatMul",
    "ReduceMean", "FusedGemm", "MatMulInteger", "ConvInteger",
}  # fmt: skip
"""Operators that the logits of classifiers come out of."""
_POOLING = {"BatchNormalization", "Flatten", "GlobalAveragePool", "GlobalMaxPool",
            "LayerNormalization", "ReduceMean", "AveragePool", "Relu", "PRelu"}  # fmt: skip
"""Operators that features come out of, where no layer of classes follows."""
_MANY_CLASSES = 1000
_CLOSE = 2e-3
_OTHERS = {
    "softmax": (
        '"sigmoid" (several classes may be true at once)',
        '"none" (the numbers are scores already)',
    ),
    "sigmoid": (
        '"softmax" (exactly one class is true)',
        '"none" (the numbers are scores already)',
    ),
    "none": (
        '"softmax" (exactly one class is true)',
        '"sigmoid" (several classes may be true at once)',
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """The judgement about a row.

    activation: empty when it holds no classes; then `reason` says what it seems to be.
    kind_certainty: of the claim that it holds classes, or that it does not.
    """

    activation: str
    certainty: Certainty
    reason: str
    kind_certainty: Certainty

    @property
    def others(self) -> tuple[str, ...]:
        """The other activations, in words."""
        return _OTHERS.get(self.activation, ())


def find_row(outputs: Sequence[Output], labels: int) -> Output | None:
    """The only output with one number for each class, as the pipeline finds it."""
    rows = [output for output in outputs if _is_row(output)]
    if len(rows) > 1 and labels:
        rows = [output for output in rows if math.prod(output.shape[1:]) == labels] or rows
    return rows[0] if len(rows) == 1 else None


def _is_row(output: Output) -> bool:
    for shape in (output.spec.shape, output.shape):
        several = shape[:1] and shape[0] > 1  # steps of a sequence, not a batch
        if several or len(shape) < 2 or len([size for size in shape[1:] if size != 1]) > 1:
            return False
    return output.spec.datatype.value not in ("BOOL", "BYTES")


def judge_row(output: Output, metadata: ModelMetadata, answers: Answers) -> Row:
    """What a row holds, and how its scores are made."""
    count = math.prod(output.shape[1:]) if -1 not in output.shape[1:] else 0
    labelled = count > 0 and count in (answers.labels, len(metadata.labels))
    if answers.activation is not None:
        return Row(answers.activation, "sure", "as you say", "sure")
    if metadata.characters and count == len(metadata.characters):
        labelled = True
    if not output.is_float:
        return _other("it holds whole numbers, such as the number of the best class", "likely")
    by_numbers = _by_numbers(output)
    return (
        _by_operators(output, by_numbers)
        or _not_classes(output, count, labelled)
        or _scores_already(output, by_numbers, labelled)
        or _logits(output, count, labelled)
    )


def _other(reason: str, certainty: Certainty) -> Row:
    return Row("", certainty, reason, certainty)


def _by_numbers(output: Output) -> str:
    """`softmax`: they sum to 1 on every photo. `sigmoid`: they lie in 0..1. `unit`: their length
    is 1. `percent`: they sum to 100. Empty: none of these, or nothing was run.
    """
    rows = [array.reshape(-1) for array in output.arrays]
    if not rows or any(len(row) == 0 or not np.isfinite(row).all() for row in rows):
        return ""
    inside = all(row.min() >= -_CLOSE and row.max() <= 1 + _CLOSE for row in rows)
    sums = [float(row.sum()) for row in rows]
    if len(rows[0]) > 1 and inside and all(abs(total - 1) < 5 * _CLOSE for total in sums):
        return "softmax"
    lengths = [float(np.sqrt(np.square(row).sum())) for row in rows]
    if len(rows[0]) > 4 and all(abs(length - 1) < _CLOSE for length in lengths):
        return "unit"
    positive = len(rows[0]) > 1 and all(row.min() >= 0 for row in rows)
    if positive and all(abs(total - 100) < 0.5 for total in sums):
        return "percent"
    return "sigmoid" if inside else ""


def _by_operators(output: Output, by_numbers: str) -> Row | None:
    kind, name = output.head.kind, ", ".join(output.head.operators[:3])
    if kind == "unit_length" or by_numbers == "unit":
        return _other("its length is 1: an embedding, to be compared with others", "sure")
    if kind == "index":
        return _other(f"it ends with {name}: the number of the best class alone", "sure")
    if kind == "suppressed":
        return _other(f"it comes out of {name}", "sure")
    if kind == "tanh" or "Tanh" in output.head.operators:
        sure: Certainty = "sure" if kind == "tanh" else "unknown"
        return _other(f"it ends with {name}, which gives -1..1: no scores of classes", sure)
    if kind == "log_softmax":
        return Row("softmax", "sure", f"the model ends with {name}: logarithms of scores", "sure")
    if by_numbers == "percent":
        return _other("its numbers sum to 100: percentages, where scores lie in 0..1", "unknown")
    if by_numbers == "softmax":
        ends = f"the model ends with {name}, and " if kind == "softmax" else ""
        return Row("none", "sure", f"{ends}the classes sum to 1 on both photos", "sure")
    if kind == "softmax":
        if output.arrays:
            return Row(
                "none", "unknown",
                f"the model ends with {name}, but its numbers do not sum to 1 over the classes",
                "unknown",
            )  # fmt: skip
        return Row("none", "likely", f"the model ends with {name}; it was not run", "likely")
    return None


def _not_classes(output: Output, count: int, labelled: bool) -> Row | None:
    """Embeddings and landmarks, which have the shape of classes."""
    if labelled:
        return None
    last = output.head.operators[:1]
    if count in _EMBEDDING_WIDTHS:
        if output.head.kind == "plain" and set(last) <= _POOLING and last:
            words = f"{count} numbers out of {last[0]}, after which no layer of classes follows"
            return _other(f"{words}: features, or an embedding", "likely")
        if output.head.kind == "plain" and not _one_sided(output):
            return Row(
                "softmax", "unknown",
                f"{count} numbers may be as many classes, or an embedding", "unknown",
            )  # fmt: skip
    if _measured(output, count):
        words = "all its numbers are above 0 on both photos, as coordinates and measurements are"
        return Row("softmax", "unknown", words, "unknown")
    if count in _LANDMARK_WIDTHS:
        words = f"{count} numbers are often the coordinates of {count // 2} points of a face"
        return _other(words, "unknown")
    return None


def _measured(output: Output, count: int) -> bool:
    """True for numbers above 0, some above 1: logits have both signs unless a Relu made them."""
    if not 4 <= count < _MANY_CLASSES or not output.arrays or output.head.kind != "plain":
        return False
    least = min(float(array.min()) for array in output.arrays if array.size)
    most = max(float(array.max()) for array in output.arrays if array.size)
    return least > 0 and most > 1


def _one_sided(output: Output) -> bool:
    """True for scores in 0..1, which embeddings are not."""
    return bool(output.arrays) and all(
        array.size and array.min() >= 0 and array.max() <= 1 for array in output.arrays
    )


def _scores_already(output: Output, by_numbers: str, labelled: bool) -> Row | None:
    name = ", ".join(output.head.operators[:3])
    sigmoid = not {"Sigmoid", "HardSigmoid"}.isdisjoint(output.head.operators)
    if sigmoid and (by_numbers == "sigmoid" or not output.arrays):
        certainty: Certainty = "sure" if output.head.kind == "sigmoid" else "likely"
        return Row(
            "none", certainty, f"the model ends with {name}: scores in 0..1 already", "likely"
        )
    if by_numbers == "sigmoid" and labelled:
        return Row("none", "likely", "the numbers lie in 0..1 on both photos", "likely")
    if by_numbers == "sigmoid":
        return Row(
            "none", "unknown",
            f"its numbers lie in 0..1 on both photos, but the model ends with {name or 'nothing'}: "
            "scores, or measurements such as coordinates",
            "unknown",
        )  # fmt: skip
    return None


def _logits(output: Output, count: int, labelled: bool) -> Row:
    operators = output.head.operators
    name = ", ".join(operators[:3]) or "nothing known"
    if count == 1:
        return Row(
            "sigmoid", "unknown", f"one number out of {name}: a score, or a measurement", "unknown"
        )
    ends = f"the model ends with {name} and the numbers are no scores yet"
    if labelled:
        return Row("softmax", "likely", f"{ends}, and there are as many labels", "sure")
    if operators and set(operators) <= _LINEAR:
        return Row("softmax", "likely", ends, "likely")
    certainty: Certainty = "unknown" if operators else "likely"
    return Row("softmax", certainty, ends, certainty)
