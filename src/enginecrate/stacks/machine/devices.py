"""The machine's GPUs and their driver, asked of NVML, the driver's management library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enginecrate.cuda.nvml import NvmlDevice, NvmlError, NvmlMissing, read_nvml
from enginecrate.values import ComputeCapability

__all__ = ["Gpu", "NvidiaFacts", "probe_gpus", "probe_nvidia", "visible_gpus"]

_PROC = Path("/proc/driver/nvidia/version")

_PCI = Path("/sys/bus/pci/devices")

_NO_GPU = "the driver lists no GPU"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine.

    index: as NVML and `nvidia-smi` count.
    memory_bytes, free_bytes: 0 where the driver does not tell (Jetson).
    mig: Multi-Instance GPU; empty where the GPU has none.
    compute_mode: the processes that may use it: `Default`, `Exclusive_Process`, `Prohibited`.
    """

    index: int
    name: str
    compute_capability: ComputeCapability
    memory_bytes: int = 0
    free_bytes: int = 0
    mig: Literal["", "disabled", "enabled"] = ""
    compute_mode: str = "Default"


@dataclass(frozen=True, slots=True)
class NvidiaFacts:
    """The NVIDIA driver and its GPUs.

    driver: its version; empty: there is none.
    hidden: how many of the GPUs `CUDA_VISIBLE_DEVICES` hides from this process.
    problem: why the driver does not answer; empty when it does, or when there is none.
    hardware: the machine has an NVIDIA GPU on its PCI bus, whoever may use it.
    """

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    hidden: int = 0
    problem: str = ""
    hardware: bool = False


def probe_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, in CUDA's order; empty when there are none.

    `CUDA_VISIBLE_DEVICES` is respected. Takes milliseconds; never raises.
    """
    devices, _, _ = _ask()
    return tuple(gpu for gpu, _ in visible_gpus(devices, os.environ))


def probe_nvidia() -> NvidiaFacts:
    """The driver and all of its GPUs. Problems are facts, too: nothing is raised for them."""
    devices, driver, problem = _ask()
    hidden = len(devices) - len(visible_gpus(devices, os.environ))
    gpus = tuple(gpu for gpu, _ in devices)
    return NvidiaFacts(driver, gpus, hidden, problem, hardware=_has_hardware())


def _has_hardware() -> bool:
    """True for a display or 3D controller of NVIDIA's (PCI Code and ID Assignment, class 03)."""
    for device in _PCI.glob("*"):
        try:
            vendor = (device / "vendor").read_text(encoding="ascii").strip()
            kind = (device / "class").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


_Known = tuple[Gpu, str]
"""A GPU and its UUID, which stays here: it identifies the customer's machine."""


def visible_gpus(devices: Sequence[_Known], environment: Mapping[str, str]) -> list[_Known]:
    """Those that `CUDA_VISIBLE_DEVICES` leaves, in its order.

    As CUDA does it (CUDA C++ Programming Guide, "CUDA Environment Variables"): numbers or
    beginnings of UUIDs; the first one that is not valid ends the list. A slice (`MIG-...`) stands
    for nothing that can be named here, so all GPUs with MIG are left.
    """
    names = environment.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return list(devices)
    visible: list[_Known] = []
    for word in (word.strip() for word in names.split(",")):
        if word.startswith("MIG-"):
            return [known for known in devices if known[0].mig == "enabled"]
        match = [known for known in devices if _names(word, *known)]
        if len(match) != 1 or match[0] in visible:
            break
        visible += match
    return visible


def _names(word: str, gpu: Gpu, uuid: str) -> bool:
    if word.isdigit():
        return gpu.index == int(word)
    return word.startswith("GPU-") and uuid.startswith(word)


def _ask() -> tuple[list[_Known], str, str]:
    """GPUs with their UUIDs, driver, problem."""
    try:
        driver, devices = read_nvml()
    except NvmlMissing as exc:  # no driver, or a container that was given a part of it
        driver = _driver_from_proc()
        return [], driver, str(exc) if driver else ""
    except NvmlError as exc:
        return [], _driver_from_proc(), str(exc)
    return [_known(device) for device in devices], driver, "" if devices else _NO_GPU


def _known(device: NvmlDevice) -> _Known:
    gpu = Gpu(
        device.index,
        device.name,
        ComputeCapability(*device.capability),
        device.memory_bytes,
        device.free_bytes,
        device.mig,
        device.compute_mode,
    )
    return gpu, device.uuid


def _driver_from_proc() -> str:
    """`NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  ...` gives `550.54.14`."""
    try:
        words = _PROC.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")
