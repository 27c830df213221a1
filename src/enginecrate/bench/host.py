"""The use of this machine during a run: processor, memory, GPUs. Source: proc(5) and NVML."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from enginecrate.cuda.nvml import NvmlError, NvmlUsage

__all__ = ["GpuUse", "HostMeter", "HostUse"]


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU. busy: mean share of the time in which it worked; memory_bytes: the most in use."""

    index: int
    name: str
    busy: float
    memory_bytes: int


class HostUse(msgspec.Struct, frozen=True, kw_only=True):
    """This machine. processor: share of all cores; memory_bytes: the most in use."""

    cores: int
    processor: float
    memory_bytes: int
    gpus: tuple[GpuUse, ...] = ()


class HostMeter:
    """Looks at the machine from `begin` to `use`."""

    def __init__(self) -> None:
        self._busy = self._whole = 0
        self._first: tuple[int, int] | None = None
        self._memory = 0
        self._gpus: NvmlUsage | None = None
        self._samples: list[tuple[tuple[float, int], ...]] = []

    def begin(self) -> None:
        """Start to look."""
        self._first = _processor()
        try:
            self._gpus = NvmlUsage()
        except NvmlError:  # no GPU, or no driver
            self._gpus = None
        self.sample()

    def sample(self) -> None:
        """Look once more."""
        self._memory = max(self._memory, _memory())
        if self._gpus is not None:
            self._samples.append(self._gpus.sample())

    def use(self) -> HostUse | None:
        """The use since `begin`; `None` where the kernel does not tell, or it never began."""
        last = _processor()
        gpus = self._gpu_use()
        if self._first is None or last is None:
            return None
        whole = last[1] - self._first[1]
        return HostUse(
            cores=os.cpu_count() or 1,
            processor=round((last[0] - self._first[0]) / whole, 3) if whole else 0.0,
            memory_bytes=self._memory,
            gpus=gpus,
        )

    def _gpu_use(self) -> tuple[GpuUse, ...]:
        if self._gpus is None:
            return ()
        names = self._gpus.names
        self._gpus.close()
        self._gpus = None
        return tuple(
            GpuUse(
                index=index,
                name=name,
                busy=round(sum(one[index][0] for one in self._samples) / len(self._samples), 3),
                memory_bytes=max(one[index][1] for one in self._samples),
            )
            for index, name in enumerate(names)
        )


def _processor() -> tuple[int, int] | None:
    """Ticks that all cores have worked, and all ticks."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        ticks = [int(field) for field in line.split()[1:9]]
    except (OSError, ValueError):
        return None
    whole = sum(ticks)
    return whole - ticks[3] - ticks[4], whole  # but idle and iowait


def _memory() -> int:
    """Bytes in use."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return (sizes["MemTotal"] - sizes["MemAvailable"]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return 0
