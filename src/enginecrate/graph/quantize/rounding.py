"""Rounding weights so that a layer's output changes least on the inputs that it really sees.

Rounding each weight to the nearest step of its scale is best for inputs without any correlation.
Real inputs are correlated, so an error in one weight can be made good by the next ones. This is
GPTQ (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2023, algorithm 1, with columns ordered by the size of their inputs), on centred
inputs: what the inputs' mean does is put into the bias (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", 2019, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST_ROW", "Moments", "round_weights"]

Doubles = npt.NDArray[np.float64]

LARGEST_ROW = 2304
"""Weights that make one output number; the work grows with the cube, so longer rows are rounded
to the nearest step."""

_DAMPING = 0.05
"""Share of the mean variance, added to each: keeps what few photos say from being overdone."""

_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Moments:
    """The moments of a layer's inputs, for each group of a grouped convolution.

    mean: (groups, K), for the K inputs that make one output number.
    covariance: (groups, K, K); empty (groups, 0, 0) for rows that are too long.
    """

    mean: Doubles
    covariance: Doubles


def round_weights(
    weights: Doubles, scales: Doubles, moments: Moments, largest: float, *, centred: bool
) -> Doubles:
    """Whole numbers that stand for the weights.

    Args:
        weights: (groups, rows, K).
        scales: (groups, rows): one step for each row.
        moments: of the inputs.
        largest: magnitude of the largest whole number.
        centred: the layer has a bias, which takes up what the mean does.

    Returns:
        (groups, rows, K), from -largest to largest.
    """
    rounded = [
        _round_group(weights[number], scales[number], _second(moments, number, centred), largest)
        for number in range(len(weights))
    ]
    return np.stack(rounded)


def _second(moments: Moments, number: int, centred: bool) -> Doubles:
    covariance: Doubles = moments.covariance[number]
    mean: Doubles = moments.mean[number]
    if centred or not covariance.size:
        return covariance
    return covariance + np.outer(mean, mean)


def _round_group(weights: Doubles, scales: Doubles, second: Doubles, largest: float) -> Doubles:
    steps = weights / scales[:, None]
    usual = np.mean(np.diag(second)) if second.size else 0.0
    if not usual > 0:
        return np.clip(np.rint(steps), -largest, largest)
    size = len(second)
    damped = second + np.eye(size) * (_DAMPING * usual)
    order = np.argsort(-np.diag(damped), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(damped[order][:, order])).T
    rounded = _compensate(steps[:, order], factor, largest)
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _compensate(steps: Doubles, factor: Doubles, largest: float) -> Doubles:
    """Round column after column, and let the columns behind make good what each loses.

    factor: the upper Cholesky factor of the inverse of the inputs' second moments.
    """
    left = steps.copy()
    rounded = np.zeros_like(left)
    count = left.shape[1]
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.zeros((len(left), end - start))
        for column in range(start, end):
            rounded[:, column] = np.clip(np.rint(left[:, column]), -largest, largest)
            error = (left[:, column] - rounded[:, column]) / factor[column, column]
            left[:, column:end] -= np.outer(error, factor[column, column:end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ factor[start:end, end:]
    return rounded
