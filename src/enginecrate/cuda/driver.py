"""NVIDIA's driver, called directly: which GPUs there are, and their memory.

The library `libcuda.so.1` comes with the driver, so this needs no CUDA toolkit and no package.
Functions are of the CUDA Driver API reference (docs.nvidia.com/cuda/cuda-driver-api); calls let
go of the GIL. The primary context is used, which is also that of every library above.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

from enginecrate.errors import BackendUnavailable, EngineRunFailed
from enginecrate.values import Array, ComputeCapability

__all__ = ["CudaMemory", "Gpu", "find_gpus"]

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY = 2
_NO_DEVICE = 100
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_DEFAULT_STREAM = 0


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver sees it."""

    number: int
    name: str
    compute_capability: ComputeCapability
    memory_bytes: int


class _Refused(Exception):
    """A call of the driver returned an error."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use; `CUDA_VISIBLE_DEVICES` counts.

    Raises:
        BackendUnavailable: there is no driver, or no GPU.
    """
    driver = _driver()
    try:
        count = c_int()
        _call(driver, "cuDeviceGetCount", ctypes.byref(count))
        found = tuple(_gpu(driver, number) for number in range(count.value))
    except _Refused as exc:
        raise BackendUnavailable(
            f"the NVIDIA driver failed: {exc}; see `enginecrate doctor`"
        ) from exc
    if not found:
        raise BackendUnavailable(
            "the NVIDIA driver finds no GPU that this process may use; in a container, start it "
            "with --gpus all; elsewhere check CUDA_VISIBLE_DEVICES and `nvidia-smi`"
        )
    return found


@cache
def _driver() -> Any:
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as exc:
        raise BackendUnavailable(
            f"there is no NVIDIA driver here ({exc}); install one, and in a container start it "
            "with --gpus all (NVIDIA Container Toolkit)"
        ) from exc
    _declare(driver)
    try:
        _call(driver, "cuInit", c_uint(0))
    except _Refused as exc:
        reason = "finds no GPU" if exc.status == _NO_DEVICE else f"cannot start: {exc}"
        raise BackendUnavailable(
            f"the NVIDIA driver {reason}; check `nvidia-smi`; in a container, start it with "
            "--gpus all"
        ) from exc
    return driver


def _declare(driver: Any) -> None:
    """Addresses are 64 bits wide, and ctypes would cut plain numbers to 32."""
    signatures = {
        "cuMemAlloc_v2": (c_void_p, c_size_t),
        "cuMemFree_v2": (c_void_p,),
        "cuMemGetInfo_v2": (c_void_p, c_void_p),
        "cuMemcpyHtoDAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
        "cuMemcpyDtoHAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
        "cuMemcpyDtoDAsync_v2": (c_void_p, c_void_p, c_size_t, c_void_p),
        "cuStreamSynchronize": (c_void_p,),
        "cuCtxSetCurrent": (c_void_p,),
        "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
        "cuDeviceGetName": (c_char_p, c_int, c_int),
        "cuDeviceTotalMem_v2": (c_void_p, c_int),
        "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    }
    for name, types in signatures.items():
        getattr(driver, name).argtypes = types


def _call(driver: Any, name: str, *arguments: Any) -> None:
    status = getattr(driver, name)(*arguments)
    if status:
        text = c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        words = (text.value or b"unknown error").decode()
        raise _Refused(status, f"{name}: {words} (CUDA error {status})")


def _gpu(driver: Any, number: int) -> Gpu:
    name, size = ctypes.create_string_buffer(256), c_size_t()
    major, minor = c_int(), c_int()
    _call(driver, "cuDeviceGetName", name, 256, number)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(size), number)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, number)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, number)
    capability = ComputeCapability(major.value, minor.value)
    return Gpu(number, name.value.decode(), capability, size.value)


class CudaMemory:
    """The memory of one GPU (`DeviceMemory`). Any thread may use it.

    Copies use the default stream and wait for it: work of other streams, such as onnxruntime's,
    is not ordered by them.
    """

    kind = "cuda"

    def __init__(self, device: int) -> None:
        """Use the GPU of this number.

        Raises:
            BackendUnavailable: there is no driver, or no such GPU.
        """
        gpus = find_gpus()
        if not 0 <= device < len(gpus):
            raise BackendUnavailable(
                f"there is no GPU {device}; this process may use {len(gpus)}, numbered from 0 "
                f"({', '.join(gpu.name for gpu in gpus)})"
            )
        self.device = device
        self.gpu = gpus[device]
        self._driver = _driver()
        context = c_void_p()
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._context = context

    def allocate(self, size: int) -> int:
        pointer = c_void_p()
        self._do("cuMemAlloc_v2", ctypes.byref(pointer), max(size, 1), wanted=size)
        return pointer.value or 0

    def free(self, pointer: int) -> None:
        self._do("cuMemFree_v2", pointer)

    def available(self) -> int:
        """Free bytes now."""
        free, total = c_size_t(), c_size_t()
        self._do("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def copy_in(self, pointer: int, array: Array) -> None:
        # From pageable memory the plain call may return before the data has arrived
        # (CUDA Driver API, "API synchronization behavior").
        self._copy("cuMemcpyHtoDAsync_v2", pointer, array.ctypes.data, array.nbytes)

    def copy_out(self, array: Array, pointer: int) -> None:
        self._copy("cuMemcpyDtoHAsync_v2", array.ctypes.data, pointer, array.nbytes)

    def copy_across(self, target: int, source: int, size: int) -> None:
        self._copy("cuMemcpyDtoDAsync_v2", target, source, size)

    def wait_for(self, stream: int | None) -> None:
        if stream is not None:
            self._do("cuStreamSynchronize", stream)

    def _copy(self, name: str, target: int, source: int, size: int) -> None:
        if size:
            self._do(name, target, source, size, _DEFAULT_STREAM)
            self._do("cuStreamSynchronize", _DEFAULT_STREAM)

    def _do(self, name: str, *arguments: Any, wanted: int = 0) -> None:
        try:
            if name != "cuDevicePrimaryCtxRetain":  # each thread has a current context of its own
                _call(self._driver, "cuCtxSetCurrent", self._context)
            _call(self._driver, name, *arguments)
        except _Refused as exc:
            if exc.status != _OUT_OF_MEMORY:
                raise EngineRunFailed(f"GPU {self.device} failed: {exc}") from exc
            raise EngineRunFailed(
                f"GPU {self.device} ({self.gpu.name}) is out of memory: {wanted:,} bytes are "
                f"needed, and {self.available():,} of {self.gpu.memory_bytes:,} are free; use "
                "fewer instances or smaller batches, or end what else runs on it"
            ) from exc
