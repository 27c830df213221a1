"""The machine that a build ran on, for the report and for evidence."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import msgspec

from enginecrate.engines.cpu_cores import available_cores

__all__ = ["BuildMachine", "describe_machine"]

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
_PACKAGES = ("enginecrate", "numpy", "onnx", "onnxruntime")


class BuildMachine(msgspec.Struct, frozen=True, kw_only=True):
    """Processor, its features that decide an engine's speed, and the software that ran.

    cores: that this process may use.
    """

    processor: str
    features: tuple[str, ...]
    cores: int
    system: str
    python: str
    packages: dict[str, str]


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> BuildMachine:
    """Look at this machine. `cpuinfo`: Linux's file of that name."""
    facts = _cpuinfo(cpuinfo)
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return BuildMachine(
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        features=tuple(feature for feature in _FEATURES if feature in flags),
        cores=available_cores(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # for example run from a bare checkout
        return "unknown"


def _cpuinfo(file: Path) -> dict[str, str]:
    """The first processor's lines."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
