"""NVML, the driver's management library, without a package for it: a handful of calls by ctypes.

https://docs.nvidia.com/deploy/nvml-api/. The library comes with the driver and keeps its interface
over versions, which `nvidia-smi`'s output does not promise.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

__all__ = ["LIBRARY", "NvmlDevice", "NvmlError", "NvmlMissing", "NvmlUsage", "read_nvml"]

LIBRARY = "libnvidia-ml.so.1"
_TEXT = 96
"""NVML_DEVICE_NAME_V2_BUFFER_SIZE; the other texts are shorter."""
_COMPUTE_MODES = ("Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process")


class NvmlError(Exception):
    """NVML is not there, or does not answer."""


class NvmlMissing(NvmlError):
    """The library is not there."""


@dataclass(frozen=True, slots=True)
class NvmlDevice:
    """Facts about a GPU; sizes in bytes, 0 when it does not tell."""

    index: int
    name: str
    uuid: str
    capability: tuple[int, int]
    memory_bytes: int
    free_bytes: int
    mig: Literal["", "disabled", "enabled"]
    compute_mode: str


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class NvmlUsage:
    """Looks at what the GPUs do, again and again; `names` are in the order of the samples."""

    def __init__(self, path: str = LIBRARY) -> None:
        """Raises `NvmlError`, as `read_nvml`."""
        _, devices = read_nvml(path)
        self.names = [device.name for device in devices]
        self._library = ctypes.CDLL(path)
        _call(self._library, "nvmlInit_v2")
        self._devices = [ctypes.c_void_p() for _ in devices]
        for index, device in enumerate(self._devices):
            _call(self._library, "nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(device))

    def sample(self) -> tuple[tuple[float, int], ...]:
        """For each GPU the share of the last moments in which it worked, and bytes in use.

        Zero where a GPU does not tell.
        """
        return tuple(self._look(device) for device in self._devices)

    def close(self) -> None:
        """Let go of the library."""
        self._library.nvmlShutdown()

    def _look(self, device: ctypes.c_void_p) -> tuple[float, int]:
        busy, memory = _Utilization(), _Memory()
        _try(self._library, "nvmlDeviceGetUtilizationRates", device, ctypes.byref(busy))
        _try(self._library, "nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return busy.gpu / 100, memory.used


def read_nvml(path: str = LIBRARY) -> tuple[str, list[NvmlDevice]]:
    """The driver's version, and its GPUs.

    Args:
        path: of the library.

    Raises:
        NvmlMissing: there is no such library.
        NvmlError: it does not answer.
    """
    try:
        library = ctypes.CDLL(path)
    except OSError as exc:
        raise NvmlMissing(f"{LIBRARY} cannot be loaded: {exc}") from exc
    _call(library, "nvmlInit_v2")
    try:
        driver = ctypes.create_string_buffer(_TEXT)
        _call(library, "nvmlSystemGetDriverVersion", driver, _TEXT)
        count = ctypes.c_uint()
        _call(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        devices = [_read(library, index) for index in range(count.value)]
    finally:
        library.nvmlShutdown()
    return driver.value.decode(errors="replace"), devices


def _read(library: ctypes.CDLL, index: int) -> NvmlDevice:
    device = ctypes.c_void_p()
    _call(library, "nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(device))
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call(
        library,
        "nvmlDeviceGetCudaComputeCapability",
        device,
        ctypes.byref(major),
        ctypes.byref(minor),
    )
    memory = _Memory()
    _try(library, "nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
    return NvmlDevice(
        index,
        _text(library, "nvmlDeviceGetName", device),
        _text(library, "nvmlDeviceGetUUID", device),
        (major.value, minor.value),
        memory.total,
        memory.free,
        _mig(library, device),
        _mode(library, device),
    )


def _mig(library: ctypes.CDLL, device: ctypes.c_void_p) -> Literal["", "disabled", "enabled"]:
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    arguments = (device, ctypes.byref(current), ctypes.byref(pending))
    if not _try(library, "nvmlDeviceGetMigMode", *arguments):
        return ""
    return "enabled" if current.value else "disabled"


def _mode(library: ctypes.CDLL, device: ctypes.c_void_p) -> str:
    mode = ctypes.c_uint()
    if not _try(library, "nvmlDeviceGetComputeMode", device, ctypes.byref(mode)):
        return _COMPUTE_MODES[0]
    return _COMPUTE_MODES[mode.value] if mode.value < len(_COMPUTE_MODES) else str(mode.value)


def _text(library: ctypes.CDLL, function: str, device: ctypes.c_void_p) -> str:
    buffer = ctypes.create_string_buffer(_TEXT)
    _call(library, function, device, buffer, _TEXT)
    return buffer.value.decode(errors="replace")


def _try(library: ctypes.CDLL, function: str, *arguments: object) -> bool:
    """Call what not every GPU or driver has."""
    try:
        _call(library, function, *arguments)
    except NvmlError:
        return False
    return True


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    try:
        status = getattr(library, function)(*arguments)
    except AttributeError as exc:
        raise NvmlError(f"this driver's NVML has no {function}") from exc
    if status != 0:
        library.nvmlErrorString.restype = ctypes.c_char_p
        words = (library.nvmlErrorString(status) or b"").decode(errors="replace")
        raise NvmlError(f"NVML: {words or status} ({function})")
