"""How many front ends a server has, and the reason in words."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from enginecrate.engines.cpu_cores import available_cores
from enginecrate.server.logs.events import log_event
from enginecrate.server.memory.container import memory_limit
from enginecrate.settings import Settings

__all__ = ["FrontEndCount", "MachineFacts", "count_front_ends", "log_count", "machine_facts"]

_MIB = 1 << 20
_ENGINE_BYTES = 256 * _MIB
"""Engine process and supervisor, without the model."""
_FRONT_END_BYTES = 96 * _MIB
"""A front end without any request."""
_BODY_SHARE = 2
"""Half of a front end's memory is for bodies and tensors; photos are decoded in the rest."""

_LEAST_CORES = 4
_MOST = 8

_log = logging.getLogger(__name__)

_GPU_FILES = ("dev/nvidiactl", "dev/nvhost-gpu", "dev/nvgpu", "dev/dxg")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The facts that decide. `memory_bytes`: of the container, or of the machine."""

    cores: int
    memory_bytes: int
    has_gpu: bool


@dataclass(frozen=True, slots=True)
class FrontEndCount:
    """The decision.

    front_ends: 0: one process does everything.
    body_bytes: for bodies and tensors in each front end.
    reason: why so many.
    shortage: why there are fewer than were asked for; empty when there are not.
    """

    front_ends: int
    body_bytes: int
    reason: str
    shortage: str = ""


def machine_facts(root: Path = Path("/")) -> MachineFacts:
    """The facts about this machine. Asking a driver would load it into this process.

    Args:
        root: the folder that has `dev`, `proc` and `sys`.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    gpu = not hidden and any((root / file).exists() for file in _GPU_FILES)
    return MachineFacts(available_cores(root), memory_limit(root), gpu)


def count_front_ends(settings: Settings, machine: MachineFacts) -> FrontEndCount:
    """Decide how many front ends there are.

    Args:
        settings: `frontends`, `stack` and `max_body_bytes`.
        machine: what it has.
    """
    wanted, reason = _wanted(settings, machine)
    room = machine.memory_bytes - _ENGINE_BYTES
    each = _FRONT_END_BYTES + _BODY_SHARE * settings.max_body_bytes
    count = max(0, min(wanted, room // each))
    shortage = ""
    if count < wanted:
        shortage = (
            f"{machine.memory_bytes // _MIB} MiB of memory are enough for {count} of {wanted} "
            f"front ends: each takes {each // _MIB} MiB, with one largest body (setting "
            f"max_body_bytes), and the engine process {_ENGINE_BYTES // _MIB} MiB"
        )
        if not count:
            shortage += "; one process does everything"
    share = room // count - _FRONT_END_BYTES if count else 0
    return FrontEndCount(count, max(0, share // _BODY_SHARE), reason, shortage)


def log_count(count: FrontEndCount) -> None:
    """Log the decision, and what it lacks."""
    log_event(_log, count.reason, frontends=count.front_ends)
    if count.shortage:
        _log.warning("%s", count.shortage)


def _wanted(settings: Settings, machine: MachineFacts) -> tuple[int, str]:
    if settings.frontends != "auto":
        return settings.frontends, f"frontends = {settings.frontends}"
    if not machine.has_gpu:
        return 0, "frontends = auto: there is no GPU, so one process does everything"
    if settings.stack.endswith("cpu"):
        return 0, f"frontends = auto: the stack {settings.stack} uses no GPU"
    if machine.cores < _LEAST_CORES:
        return 0, f"frontends = auto: one process does everything on {machine.cores} cores"
    count = min(_MOST, machine.cores // 2)
    return count, f"frontends = auto: {count} for {machine.cores} cores and a GPU"
