"""What of a ladder this machine can run."""

from __future__ import annotations

from collections.abc import Iterable

from enginecrate.builder.ladder.rungs import Here
from enginecrate.engines.backends import get_backend
from enginecrate.errors import EnginecrateError
from enginecrate.stacks.catalog import Stack
from enginecrate.stacks.containers import probe_containers
from enginecrate.stacks.devices import probe_gpus, probe_nvidia

__all__ = ["look_around"]


def look_around(stacks: Iterable[Stack]) -> Here:
    """Look at this machine. GPUs are looked for only when a stack is for GPUs.

    Args:
        stacks: whose backends are of interest.
    """
    rungs = [rung for stack in stacks for rung in stack.rungs]
    devices: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for name in sorted({rung.backend for rung in rungs}):
        try:
            found = get_backend(name).probe()
        except EnginecrateError as exc:
            missing[name] = str(exc)
            continue
        devices[name] = found.devices
        if not found.devices:
            missing[name] = "; ".join(part for part in (found.reason, found.cure) if part)
    wants_gpu = any(rung.device == "gpu" for rung in rungs)
    gpus = probe_gpus() if wants_gpu else ()
    driver = probe_nvidia().driver if wants_gpu else ""
    capabilities = tuple(gpu.compute_capability for gpu in gpus)
    return Here(capabilities, driver, devices, missing, probe_containers().inside)
