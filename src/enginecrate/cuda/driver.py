"""The driver's library: its functions with their types, and its errors.

`libcuda.so.1` comes with the driver. The functions are those of the CUDA Driver API reference
(docs.nvidia.com/cuda/cuda-driver-api).

One table serves the drivers of CUDA 12 and 13. When the signature or the meaning of a function
changes, the driver gets one more symbol, with a higher `_v` at its end (CUDA Programming Guide,
"Driver Entry Point Access"), and programs that were built for an earlier CUDA keep running on it
(CUDA Compatibility, "Backward Compatibility"): the earlier symbols stay. A header's plain name is
the newest symbol of its own version, such as `cuEventElapsedTime_v2` in CUDA 13. So symbols are
named here in full, each in the oldest form that CUDA 12 and 13 share.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from ctypes import c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from typing import Any

from enginecrate.errors import BackendUnavailable

__all__ = ["LIBRARY", "NOT_READY", "OUT_OF_MEMORY", "Driver", "is_lost", "load_driver"]

LIBRARY = "libcuda.so.1"

OUT_OF_MEMORY = 2
NOT_READY = 600
_NO_DEVICE = 100

_LOST: Mapping[int, str] = {
    214: "CUDA_ERROR_ECC_UNCORRECTABLE",
    220: "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    226: "CUDA_ERROR_CONTAINED",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS",
    702: "CUDA_ERROR_LAUNCH_TIMEOUT",
    710: "CUDA_ERROR_ASSERT",
    714: "CUDA_ERROR_HARDWARE_STACK_ERROR",
    715: "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    716: "CUDA_ERROR_MISALIGNED_ADDRESS",
    717: "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    718: "CUDA_ERROR_INVALID_PC",
    719: "CUDA_ERROR_LAUNCH_FAILED",
    721: "CUDA_ERROR_TENSOR_MEMORY_LEAK",
    911: "CUDA_ERROR_EXTERNAL_DEVICE",
}
"""CUresult: "This leaves the process in an inconsistent state and any further CUDA work will return
the same error"; of 710 "the context cannot be used anymore". Of 214 and 220 the reference says only
what has happened; memory that was damaged is no reason to go on, either."""

_POINTER = c_uint64  # CUdeviceptr
_OUT = c_void_p  # the address of a result

_BRIEF: Mapping[str, tuple[Any, ...]] = {
    "cuCtxSetCurrent": (c_void_p,),
    "cuEventQuery": (c_void_p,),
    "cuGetErrorName": (c_int, _OUT),
    "cuGetErrorString": (c_int, _OUT),
    "cuStreamQuery": (c_void_p,),
}
"""They neither wait nor work, and keep the GIL: giving it up can cost a turn of another thread."""

_LONG: Mapping[str, tuple[Any, ...]] = {
    "cuDeviceGetAttribute": (_OUT, c_int, c_int),
    "cuDeviceGetCount": (_OUT,),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_OUT, c_int),
    "cuDeviceTotalMem_v2": (_OUT, c_int),
    "cuEventCreate": (_OUT, c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventElapsedTime": (ctypes.POINTER(c_float), c_void_p, c_void_p),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphInstantiateWithFlags": (_OUT, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuInit": (c_uint,),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, c_void_p, c_void_p),
    "cuMemAlloc_v2": (_OUT, c_size_t),
    "cuMemFreeHost": (c_void_p,),
    "cuMemFree_v2": (_POINTER,),
    "cuMemGetInfo_v2": (_OUT, _OUT),
    "cuMemHostAlloc": (_OUT, c_size_t, c_uint),
    "cuMemHostRegister_v2": (c_void_p, c_size_t, c_uint),
    "cuMemHostUnregister": (c_void_p,),
    "cuMemcpyDtoDAsync_v2": (_POINTER, _POINTER, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _POINTER, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (_POINTER, c_void_p, c_size_t, c_void_p),
    "cuModuleGetFunction": (_OUT, c_void_p, c_char_p),
    "cuModuleLoadDataEx": (_OUT, c_char_p, c_uint, c_void_p, c_void_p),
    "cuModuleUnload": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamCreate": (_OUT, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamEndCapture": (c_void_p, _OUT),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
}
"""They may wait, and let go of the GIL."""


def is_lost(status: int) -> bool:
    """True when a GPU that gives this status is lost to the process until it is started again."""
    return status in _LOST


class Driver:
    """The library, loaded and started.

    Attributes:
        functions: by symbol, with the types of their arguments; each returns its status.
    """

    def __init__(self, path: str = LIBRARY) -> None:
        """Load it. Raises `BackendUnavailable` without a driver, or without a GPU."""
        try:
            brief, long = ctypes.PyDLL(path), ctypes.CDLL(path)
        except OSError as exc:
            raise BackendUnavailable(
                f"there is no NVIDIA driver here ({exc}); install one, and in a container start it "
                "with --gpus all (NVIDIA Container Toolkit)"
            ) from exc
        self.functions: dict[str, Callable[..., int]] = {}
        for library, signatures in ((brief, _BRIEF), (long, _LONG)):
            for name, types in signatures.items():
                self.functions[name] = _declared(library, name, types)
        if status := self.functions["cuInit"](0):
            reason = "finds no GPU" if status == _NO_DEVICE else f"cannot start: {self.say(status)}"
            raise BackendUnavailable(
                f"the NVIDIA driver {reason}; check `nvidia-smi`; in a container, start it with "
                "--gpus all"
            )

    def say(self, status: int) -> str:
        """A status in the driver's own words, with its name and number."""
        name, words = c_char_p(), c_char_p()
        self.functions["cuGetErrorName"](status, ctypes.byref(name))
        self.functions["cuGetErrorString"](status, ctypes.byref(words))
        known = (name.value or b"unknown").decode(errors="replace")
        said = (words.value or b"unknown error").decode(errors="replace")
        return f"{said} ({known}, {status})"


@cache
def load_driver() -> Driver:
    """This machine's driver. Raises `BackendUnavailable`."""
    return Driver()


def _declared(library: Any, name: str, types: tuple[Any, ...]) -> Callable[..., int]:
    try:
        function = getattr(library, name)
    except AttributeError as exc:
        raise BackendUnavailable(
            f"the NVIDIA driver has no {name}: it is older than CUDA 12; install a newer one "
            "(`enginecrate stacks` says which)"
        ) from exc
    # Addresses are 64 bits wide, and without types ctypes would cut plain numbers to 32.
    function.argtypes, function.restype = types, c_int
    result: Callable[..., int] = function
    return result
