"""The GPUs that this process may use, and one of them: its context, its memory, its errors."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from ctypes import c_int, c_size_t, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

from enginecrate.cuda.driver import NOT_READY, OUT_OF_MEMORY, Driver, is_lost, load_driver
from enginecrate.errors import (
    BackendUnavailable,
    DeviceLost,
    EngineOutOfMemory,
    EngineRunFailed,
)
from enginecrate.values import ComputeCapability

__all__ = ["Device", "Gpu", "find_gpus", "open_device"]

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTREGISTER_PORTABLE: for every GPU


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver sees it."""

    number: int
    name: str
    compute_capability: ComputeCapability
    memory_bytes: int


def find_gpus(driver: Driver | None = None) -> tuple[Gpu, ...]:
    """The GPUs that this process may use; `CUDA_VISIBLE_DEVICES` counts.

    Args:
        driver: to ask; `None`: this machine's.

    Raises:
        BackendUnavailable: there is no driver, or no GPU.
    """
    driver = driver or load_driver()
    count = c_int()
    _ask(driver, "cuDeviceGetCount", ctypes.byref(count))
    gpus = tuple(_gpu(driver, number) for number in range(count.value))
    if not gpus:
        raise BackendUnavailable(
            "the NVIDIA driver finds no GPU that this process may use; in a container, start it "
            "with --gpus all; elsewhere check CUDA_VISIBLE_DEVICES and `nvidia-smi`"
        )
    return gpus


class Device:
    """One GPU. Any thread may use it.

    Its primary context is used, which is also that of the CUDA runtime, and so of onnxruntime,
    TensorRT and PyTorch in the same process (CUDA Driver API, "Primary Context Management"). It is
    kept until the process ends.

    Attributes:
        number: counted from 0, as `find_gpus` does.
        gpu: what it is.
    """

    def __init__(self, number: int, driver: Driver | None = None) -> None:
        """Retain the primary context of a GPU; see `open_device`.

        Args:
            number: of the GPU.
            driver: that knows it; `None`: this machine's.

        Raises:
            BackendUnavailable: there is no driver, or no such GPU.
            EngineRunFailed: the driver refuses, for example without memory for a context.
        """
        self._driver = driver or load_driver()
        gpus = find_gpus(self._driver)
        if not 0 <= number < len(gpus):
            raise BackendUnavailable(
                f"there is no GPU {number}; this process may use {len(gpus)}, numbered from 0 "
                f"({', '.join(gpu.name for gpu in gpus)})"
            )
        self.number = number
        self.gpu = gpus[number]
        self._functions = self._driver.functions
        self._set_current = self._functions["cuCtxSetCurrent"]
        self._context = c_void_p()
        name = "cuDevicePrimaryCtxRetain"
        if status := self._functions[name](ctypes.byref(self._context), number):
            raise self._failure(name, status, 0)

    def activate(self) -> None:
        """Make this GPU the current one of the calling thread, for libraries that follow it."""
        if status := self._set_current(self._context):
            raise self._failure("cuCtxSetCurrent", status, 0)

    def call(self, name: str, *arguments: Any, wanted: int = 0) -> None:
        """Call a function of the driver on this GPU, whatever the calling thread used before.

        Args:
            name: its symbol.
            arguments: for it.
            wanted: bytes that are asked for, for the message.

        Raises:
            DeviceLost: the GPU is lost to this process.
            EngineRunFailed: the driver refuses, in its words; exhausted memory is named.
        """
        if status := self._set_current(self._context) or self._functions[name](*arguments):
            raise self._failure(name, status, wanted)

    def release(self, name: str, *arguments: Any) -> None:
        """`call` a function that gives something back; a lost GPU has nothing to give back."""
        with suppress(DeviceLost):
            self.call(name, *arguments)

    def is_done(self, name: str, handle: int) -> bool:
        """Ask `cuStreamQuery` or `cuEventQuery`. Raises as `call`."""
        status = self._set_current(self._context) or self._functions[name](handle)
        if status not in (0, NOT_READY):
            raise self._failure(name, status, 0)
        return not status

    def available(self) -> int:
        """Bytes of its memory that are free now. Raises as `call`."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """The address of `size` new bytes on the GPU, at least one. Raises as `call`."""
        pointer = c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), max(size, 1), wanted=size)
        return pointer.value

    def free(self, pointer: int) -> None:
        """Give memory of `allocate` back. Raises as `call`."""
        self.release("cuMemFree_v2", pointer)

    def allocate_pinned(self, size: int) -> int:
        """The address of new page-locked bytes on the host, at least one. Raises as `call`."""
        pointer = c_void_p()
        size = max(size, 1)
        self.call("cuMemHostAlloc", ctypes.byref(pointer), size, _PORTABLE, wanted=size)
        return pointer.value or 0

    def free_pinned(self, pointer: int) -> None:
        """Give memory of `allocate_pinned` back. Raises as `call`."""
        self.release("cuMemFreeHost", pointer)

    def register(self, pointer: int, size: int) -> None:
        """Page-lock memory of the host that has another owner. Raises as `call`."""
        self.call("cuMemHostRegister_v2", pointer, size, _PORTABLE, wanted=size)

    def unregister(self, pointer: int) -> None:
        """Undo `register`; before the memory is given back. Raises as `call`."""
        self.release("cuMemHostUnregister", pointer)

    def _failure(self, name: str, status: int, wanted: int) -> EngineRunFailed:
        gpu = f"GPU {self.number} ({self.gpu.name})"
        words = f"{name}: {self._driver.say(status)}"
        if is_lost(status):
            return DeviceLost(
                f"{gpu} is lost to this process: {words}; start the process again, and run "
                "`enginecrate doctor` when it persists"
            )
        if status != OUT_OF_MEMORY:
            return EngineRunFailed(
                f"{gpu} failed: {words}; run `enginecrate doctor`, and start the server again when "
                "it persists"
            )
        needed = f"{wanted:,} bytes are needed, and " if wanted else ""
        return EngineOutOfMemory(
            f"{gpu} is out of memory: {needed}{self._free_words()}; use fewer instances or smaller "
            "batches, or end what else runs on it"
        )

    def _free_words(self) -> str:
        free, total = c_size_t(), c_size_t()
        if self._functions["cuMemGetInfo_v2"](ctypes.byref(free), ctypes.byref(total)):
            return "it is full"
        return f"{free.value:,} of {total.value:,} are free"


@cache
def open_device(number: int) -> Device:
    """The GPU of this number; one object for the whole process. Raises as `Device`."""
    return Device(number)


def _gpu(driver: Driver, number: int) -> Gpu:
    name, size = ctypes.create_string_buffer(256), c_size_t()
    major, minor = c_int(), c_int()
    _ask(driver, "cuDeviceGetName", name, 256, number)
    _ask(driver, "cuDeviceTotalMem_v2", ctypes.byref(size), number)
    _ask(driver, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, number)
    _ask(driver, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, number)
    capability = ComputeCapability(major.value, minor.value)
    return Gpu(number, name.value.decode(errors="replace"), capability, size.value)


def _ask(driver: Driver, name: str, *arguments: Any) -> None:
    if status := driver.functions[name](*arguments):
        raise BackendUnavailable(
            f"the NVIDIA driver failed: {name}: {driver.say(status)}; see `enginecrate doctor`"
        )
