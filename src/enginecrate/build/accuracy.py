"""How far a plan's outputs are from those of the model as the vendor gave it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from enginecrate.values import Array, Tensors

__all__ = ["Accuracy", "OutputAccuracy", "SampleAccuracy", "compare_outputs", "summarize"]


class OutputAccuracy(msgspec.Struct, frozen=True):
    """One output tensor on one sample, rounded to 4 digits; `None`: not a number.

    max_abs: largest absolute difference.
    relative_l2: length of the difference over the length of the reference (Euclidean norm).
    cosine: of the angle between both, taken as vectors; 1 is best.
    """

    name: str
    max_abs: float | None
    relative_l2: float | None
    cosine: float | None


class SampleAccuracy(msgspec.Struct, frozen=True):
    """One sample. `agrees`: whether both results match; `None` when there are only tensors."""

    sample: str
    agrees: bool | None
    reasons: tuple[str, ...]
    outputs: tuple[OutputAccuracy, ...]


class Accuracy(msgspec.Struct, frozen=True):
    """All samples. `agreement`: the share of results that match; `None` without golden samples."""

    agreement: float | None
    required: float
    samples: tuple[SampleAccuracy, ...]

    @property
    def sufficient(self) -> bool:
        """Whether the agreement is what the manifest asks for, as far as it is known."""
        return self.agreement is None or self.agreement >= self.required


def summarize(samples: Sequence[SampleAccuracy], required: float) -> Accuracy:
    """Put the samples together. `required`: least share of results that must match, 0..1."""
    judged = [sample.agrees for sample in samples if sample.agrees is not None]
    agreement = sum(judged) / len(judged) if judged else None
    return Accuracy(agreement, required, tuple(samples))


def compare_outputs(reference: Tensors, found: Tensors) -> tuple[OutputAccuracy, ...]:
    """Compare every output of one run; both have the same names and shapes."""
    return tuple(_compare(name, reference[name], found[name]) for name in reference)


def _compare(name: str, reference: Array, found: Array) -> OutputAccuracy:
    if reference.dtype == object:  # texts have no distance
        same = bool((reference == found).all())
        return OutputAccuracy(name, *((0.0, 0.0, 1.0) if same else (None, None, None)))
    one = reference.astype(np.float64).ravel()
    other = found.astype(np.float64).ravel()
    # What is equal, infinities included, has no distance; NaN on both sides counts as equal.
    same_values = (one == other) | (np.isnan(one) & np.isnan(other))
    if same_values.all():
        return OutputAccuracy(name, 0.0, 0.0, 1.0)
    difference = np.subtract(other, one, out=np.zeros_like(one), where=~same_values)
    length, product = float(np.linalg.norm(one)), float(one @ other)
    lengths = length * float(np.linalg.norm(other))
    return OutputAccuracy(
        name,
        _rounded(float(np.abs(difference).max())),
        _rounded(float(np.linalg.norm(difference)) / length if length else np.inf),
        _rounded(product / lengths if lengths else 0.0),
    )


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None
