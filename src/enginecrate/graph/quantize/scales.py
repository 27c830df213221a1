"""From ranges to scales and zero points, and from weights to integers.

ONNX specification, operators QuantizeLinear and DequantizeLinear:
`real = (quantised - zero point) * scale`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from enginecrate.errors import CalibrationInvalid, ModelInvalid
from enginecrate.graph.quantize.ranges import Range

__all__ = [
    "INT32_LARGEST",
    "Scale",
    "asymmetric_scale",
    "bias_weight_scales",
    "symmetric_scale",
    "weight_peaks",
]

Floats = npt.NDArray[np.float32]

INT32_LARGEST = 2**31 - 1

_SMALLEST = float(np.finfo(np.float32).tiny)
"""A scale below the smallest normal number loses its digits, or is 0."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a whole tensor; `zero_point` is 0 where it is symmetric."""

    scale: np.float32
    zero_point: int = 0


def asymmetric_scale(tensor: str, chosen: Range) -> Scale:
    """For uint8, so that 0 is met exactly: padding is made of zeros.

    Raises:
        CalibrationInvalid: the range is no range.
    """
    _check(tensor, chosen)
    low, high = min(chosen.low, 0.0), max(chosen.high, 0.0)
    scale = _usable((high - low) / 255)
    return Scale(scale, int(np.clip(np.rint(-low / float(scale)), 0, 255)))


def symmetric_scale(tensor: str, chosen: Range, largest: float) -> Scale:
    """For signed types. `largest`: the value that the range's end becomes: 127, or E4M3's 448.

    Raises:
        CalibrationInvalid: the range is no range.
    """
    _check(tensor, chosen)
    return Scale(_usable(max(abs(chosen.low), abs(chosen.high)) / largest))


def weight_peaks(name: str, weight: Floats, axis: int | None) -> Floats:
    """The largest magnitude of each output channel, or of all when `axis` is `None`.

    A channel of zeros gets the peak of the others, since any scale represents it.

    Raises:
        ModelInvalid: the weights hold NaN or infinity.
    """
    if not np.isfinite(weight).all():
        raise ModelInvalid(
            f"the weights {name!r} hold NaN or infinity, so they have no scale; train or export "
            "the model again"
        )
    others = None if axis is None else tuple(one for one in range(weight.ndim) if one != axis)
    peaks = np.abs(weight).max(axis=others, initial=0).astype(np.float32).reshape(-1)
    if axis is None:
        peaks = peaks[:1]
    usable = peaks > _SMALLEST * 1024  # its scale is a normal number, too
    typical = np.float32(peaks[usable].max()) if usable.any() else np.float32(1)
    return np.where(usable, peaks, typical).astype(np.float32)


def bias_weight_scales(bias: Floats, data_scale: np.float32, weight_scales: Floats) -> Floats:
    """Weight scales that are large enough for an int32 bias.

    A bias has the scale `data scale x weight scale`; with very small weights it would leave
    int32. There a coarser scale costs nothing: the bias outweighs all products.
    """
    room = INT32_LARGEST / 2
    least = np.abs(bias.astype(np.float64)) / (room * float(data_scale))
    return np.maximum(weight_scales, least).astype(np.float32)


def _check(tensor: str, chosen: Range) -> None:
    if not (math.isfinite(chosen.low) and math.isfinite(chosen.high)):
        raise CalibrationInvalid(
            f"tensor {tensor!r} has the range {chosen.low:g}..{chosen.high:g}: the model computes "
            "NaN or infinity for some calibration photo; look for the photo, or for a division by "
            "0 or a logarithm of 0 in the model"
        )
    if chosen.low > chosen.high:
        raise CalibrationInvalid(
            f"tensor {tensor!r} has the range {chosen.low:g}..{chosen.high:g}, whose ends are "
            "swapped; calibrate again"
        )


def _usable(scale: float) -> np.float32:
    """The scale as FP32; 1 for a tensor that is 0 everywhere, or as good as that."""
    if scale < _SMALLEST:
        return np.float32(1)
    return np.float32(min(scale, float(np.finfo(np.float32).max)))
