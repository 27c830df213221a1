"""Containers: the one that this process runs in, and the engines that could run others here."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ContainerFacts", "probe_containers"]

_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CGROUP_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc")
_TOOLS = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-cli")
_ENGINES = ("docker", "podman")
_CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Folders of the Container Device Interface, which tell engines of devices."""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """inside: this process is in a container.

    engines: container engines on the path; toolkit: programs of the NVIDIA Container Toolkit on the
    path; devices: CDI files that describe NVIDIA GPUs.
    """

    inside: bool = False
    engines: tuple[str, ...] = ()
    toolkit: tuple[str, ...] = ()
    devices: tuple[Path, ...] = ()


def probe_containers() -> ContainerFacts:
    """Look at this machine. Nothing is started, and nothing is raised."""
    return ContainerFacts(
        inside=_inside(),
        engines=tuple(name for name in _ENGINES if shutil.which(name)),
        toolkit=tuple(name for name in _TOOLS if shutil.which(name)),
        devices=tuple(_devices()),
    )


def _inside() -> bool:
    if "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in _MARKS):
        return True
    text = _read(Path("/proc/1/cgroup"))
    return any(word in text for word in _CGROUP_WORDS)


def _devices() -> list[Path]:
    files = [file for folder in _CDI_FOLDERS for file in sorted(folder.glob("*"))]
    return [file for file in files if "nvidia.com/gpu" in _read(file)]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
