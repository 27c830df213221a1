"""Arrays in a GPU's memory: ours for others to read, and those of others for us.

Others hand theirs over by `__cuda_array_interface__` (Numba documentation, "CUDA Array
Interface", version 3) or by DLPack (dmlc.github.io/dlpack, "Python Specification for DLPack"):
PyTorch, CuPy, JAX, Numba and onnxruntime do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from enginecrate.cuda.dlpack import CPU, CUDA, read_capsule
from enginecrate.errors import TensorMismatch
from enginecrate.values import Array

__all__ = ["DeviceArray", "Foreign", "is_device_array", "read_foreign"]

_LEGACY_STREAM = 1  # in both protocols: CUDA's default stream


class DeviceArray:
    """An output of an engine in its GPU's memory. C-contiguous.

    Valid until the engine that made it runs again or is closed: copy it to keep it
    (`torch.as_tensor(array, device="cuda").clone()`, `cupy.array(array)`, `array.numpy()`).
    """

    def __init__(
        self,
        pointer: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        device: int,
        copy_out: Callable[[Array, int], None],
        owner: object = None,
    ) -> None:
        """Describe memory of another owner.

        Args:
            pointer: address on the device.
            shape: of the array.
            dtype: of its elements.
            device: number of the GPU.
            copy_out: copies from an address of the device to an array on the host.
            owner: is kept alive as long as this array.
        """
        self.pointer = pointer
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.owner = owner
        self._copy_out = copy_out

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,  # it is finished: no reader has to wait
        }

    def numpy(self) -> Array:
        """A copy on the host."""
        array = np.empty(self.shape, self.dtype)
        self._copy_out(array, self.pointer)
        return array


class Foreign(NamedTuple):
    """An array of another library on a device, as far as it is needed here.

    stream: to wait for before it is read; `None`: it is ready.
    owner: keeps its memory alive.
    on_host: it is in the host's memory after all.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int | None
    stream: int | None
    owner: object
    on_host: bool = False

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def is_device_array(value: object) -> bool:
    """True for an array of a kind that lives on a device."""
    if isinstance(value, np.ndarray):
        return False
    return hasattr(value, "__cuda_array_interface__") or hasattr(value, "__dlpack__")


def read_foreign(name: str, value: Any) -> Foreign:
    """The address and the type of an array of another library.

    Args:
        name: of the input that it is for.
        value: with `__dlpack__` or `__cuda_array_interface__`.

    Raises:
        TensorMismatch: it is not on a GPU, not C-contiguous, or of an unknown datatype.
    """
    if hasattr(value, "__dlpack__"):  # it tells its maker to finish first, in whichever stream
        return _read_dlpack(name, value)
    return _read_interface(name, value.__cuda_array_interface__)


def _read_interface(name: str, found: dict[str, Any]) -> Foreign:
    shape, dtype = tuple(found["shape"]), np.dtype(found["typestr"])
    _check_strides(name, shape, dtype.itemsize, found.get("strides"))
    # Before version 3 nothing says on which stream it is made: most use the default one.
    stream = found.get("stream") if found.get("version", 0) >= 3 else _LEGACY_STREAM
    return Foreign(int(found["data"][0] or 0), shape, dtype, None, stream, found)


def _read_dlpack(name: str, value: Any) -> Foreign:
    kind, _ = value.__dlpack_device__()
    if kind not in (CUDA, CPU):
        raise TensorMismatch(
            f"input {name!r}: the array is on a device of DLPack's kind {kind}, not on an NVIDIA "
            "GPU; move it there, or give a NumPy array"
        )
    capsule = value.__dlpack__(stream=_LEGACY_STREAM) if kind == CUDA else value.__dlpack__()
    tensor = read_capsule(capsule)
    if tensor.dtype is None:
        raise TensorMismatch(
            f"input {name!r}: the array's datatype {tensor.code} has no counterpart in NumPy"
        )
    item = tensor.dtype.itemsize
    strides = None if tensor.strides is None else tuple(step * item for step in tensor.strides)
    _check_strides(name, tensor.shape, item, strides)
    shape, dtype = tensor.shape, tensor.dtype
    if kind == CPU:
        return Foreign(tensor.pointer, shape, dtype, None, None, capsule, on_host=True)
    return Foreign(tensor.pointer, shape, dtype, tensor.device, _LEGACY_STREAM, capsule)


def _check_strides(
    name: str, shape: tuple[int, ...], item: int, strides: tuple[int, ...] | None
) -> None:
    if strides is None or 0 in shape:
        return
    step = item
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            raise TensorMismatch(
                f"input {name!r}: the device array is not C-contiguous; copy it first, for "
                "example with .contiguous()"
            )
        step *= size
