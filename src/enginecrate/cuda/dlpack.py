"""Read what a DLPack capsule holds (dlpack.h: DLManagedTensor, DLTensor)."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

__all__ = ["CPU", "CUDA", "Tensor", "read_capsule"]

CPU, CUDA = 1, 2  # DLDeviceType

_INT, _UINT, _FLOAT, _BFLOAT, _BOOL = 0, 1, 2, 4, 6  # DLDataTypeCode
_DTYPES: dict[tuple[int, int], np.dtype[Any]] = {
    **{(_INT, 8 * n): np.dtype(f"i{n}") for n in (1, 2, 4, 8)},
    **{(_UINT, 8 * n): np.dtype(f"u{n}") for n in (1, 2, 4, 8)},
    **{(_FLOAT, 8 * n): np.dtype(f"f{n}") for n in (2, 4, 8)},
    (_BFLOAT, 16): np.dtype(ml_dtypes.bfloat16),
    (_BOOL, 8): np.dtype(np.bool_),
}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Tensor(NamedTuple):
    """A DLTensor. `strides` count elements; `dtype` is `None` when NumPy has none for `code`."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any] | None
    code: str
    device: int


def read_capsule(capsule: object) -> Tensor:
    """Look into a capsule named `dltensor`, which stays its owner's: keep it while you read.

    Raises:
        ValueError: it is no such capsule, or was used.
    """
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _DLTensor.from_address(get(capsule, b"dltensor"))
    rank = tensor.ndim
    dtype = _DTYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    return Tensor(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[:rank]),
        strides=tuple(tensor.strides[:rank]) if tensor.strides else None,
        dtype=dtype,
        code=f"(code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes)",
        device=tensor.device_id,
    )
