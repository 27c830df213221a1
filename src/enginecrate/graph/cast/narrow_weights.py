"""Constants in a narrow floating-point type, and which of them do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, numpy_helper

from enginecrate.values import Array

__all__ = ["narrow_constant", "why_not_narrow"]

_DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT16: np.dtype("<f2"),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}

_TOLERANCE = 1e-3
"""Relative L2 error that a conversion may cause; rounding alone causes at most 2^-11 = 4.9e-4."""

_PIECE = 1 << 20


def narrow_constant(
    tensor: TensorProto, kind: int, folder: Path, *, saturate: bool = False
) -> TensorProto:
    """The same constant in `kind` (FLOAT16 or BFLOAT16), under the same name.

    folder: where external data are.
    saturate: values beyond the type's range become its largest ones instead of infinity.
    """
    array = numpy_helper.to_array(tensor, str(folder))
    dtype = _DTYPES[kind]
    if saturate:
        largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        array = np.clip(array, -largest, largest)
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    made = TensorProto(name=tensor.name, dims=tensor.dims)
    made.data_type = kind
    made.raw_data = narrow.tobytes()
    return made


def why_not_narrow(tensor: TensorProto, kind: int, folder: Path) -> str:
    """The reason why a constant does not fit into FP16, for people; `""` when it does.

    BF16 has the range of FP32, and takes everything.
    """
    if kind != TensorProto.FLOAT16:
        return ""
    peak, squares, errors = _measure(numpy_helper.to_array(tensor, str(folder)).reshape(-1))
    if peak > float(np.finfo(np.float16).max):
        return f"the constant {tensor.name!r} holds {peak:.3g}, which is beyond FP16's range"
    if errors > _TOLERANCE**2 * squares:
        return (
            f"the constant {tensor.name!r} has no value above {peak:.3g}: too small for FP16, "
            "which would lose its digits"
        )
    return ""


def _measure(flat: Array) -> tuple[float, float, float]:
    """Largest magnitude, sum of squares, and sum of squared errors in FP16; finite values only.

    Piece by piece: in float64 a large constant would take four times its room.
    """
    peak = squares = errors = 0.0
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE].astype(np.float64)
        piece = piece[np.isfinite(piece)]
        with np.errstate(over="ignore"):
            error = piece.astype(np.float16).astype(np.float64) - piece
        peak = max(peak, float(np.max(np.abs(piece), initial=0.0)))
        squares += float(piece @ piece)
        errors += float(error @ error)
    return peak, squares, errors
