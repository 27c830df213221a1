"""The engine ladder: the engines that can serve on a machine, best first, and how it is climbed.

The machine is an argument of all rules here; `machine_facts` alone looks at the real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from enginecrate.builder.plans.targets import NotBuilt, Target, rung_targets, wanted_precisions
from enginecrate.engines.backends import get_backend
from enginecrate.errors import EnginecrateError, StackUnsupported
from enginecrate.manifest import Manifest
from enginecrate.stacks.catalog import Rung, Stack, get_stack
from enginecrate.stacks.compatibility import runs_precision
from enginecrate.stacks.machine.containers import probe_containers
from enginecrate.stacks.machine.devices import probe_gpus, probe_nvidia
from enginecrate.stacks.stack_rules import check_stack
from enginecrate.values import ComputeCapability, Precision

__all__ = [
    "Ladder",
    "MachineFacts",
    "Minimum",
    "below_minimum",
    "choose_stack",
    "climb_order",
    "is_quick",
    "machine_facts",
    "rungs",
]

_GIVE_GPUS = (
    "start it with its GPUs (docker run --gpus all, or podman run --device nvidia.com/gpu=all); "
    "where that fails, install the NVIDIA driver and the NVIDIA Container Toolkit on the host"
)

Minimum = Literal["auto", "gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The devices of a machine, and the backends that run on them.

    capabilities: of its GPUs, the one that serves first.
    driver: version of its NVIDIA driver; empty: there is none.
    devices: for each backend the kinds of devices on which it can run plans.
    missing: for each backend that cannot run any, why not and what to do.
    container: whether this is in a container, which sees a driver only when it was given the GPUs.
    """

    capabilities: tuple[ComputeCapability, ...]
    driver: str
    devices: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, str]
    container: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """The targets that may serve here, best first, and those that may not, with the reasons."""

    stack: Stack
    targets: tuple[Target, ...]
    left_out: tuple[NotBuilt, ...]


def choose_stack(manifest: Manifest, setting: str, machine: MachineFacts) -> Stack:
    """The stack to serve with.

    It is the setting's; else the manifest's first whose best engine runs here; else the
    manifest's first of which any engine runs here; else the manifest's first, whose ladder says
    why nothing does.

    Raises:
        StackUnknown: a name is not in the catalogue.
    """
    if setting:
        return get_stack(setting)
    stacks = [get_stack(name) for name in manifest.targets.stacks]
    best = (stack for stack in stacks if _runs(stack, stack.rungs[0], machine))
    any_rung = (
        stack for stack in stacks if any(_runs(stack, rung, machine) for rung in stack.rungs)
    )
    return next(best, None) or next(any_rung, None) or stacks[0]


def rungs(
    manifest: Manifest, stack: Stack, machine: MachineFacts, minimum: Minimum = "auto"
) -> Ladder:
    """The ladder of a stack on a machine.

    Best first: the stack's own order of backends and devices, and within it the manifest's own
    precision, its other precisions, FP32. A GPU stack's CPU rungs are a last resort: they come in
    the manifest's own precision and in FP32.

    Args:
        manifest: precisions that are wanted.
        stack: whose rungs they are.
        machine: what it can run.
        minimum: the setting `minimum_engine`. `auto`: on a GPU stack a CPU engine does not count.

    Raises:
        StackUnsupported: nothing may serve here; the message says why, rung by rung.
    """
    targets: list[Target] = []
    left_out: list[NotBuilt] = []
    for rung in stack.rungs:
        reason = _why_not(stack, rung, machine, minimum)
        for precision in _precisions(manifest, stack, rung):
            if precision not in rung.precisions:
                words = f"the rung does not run {precision} ({', '.join(rung.precisions)})"
                left_out.append(NotBuilt(_name(stack, rung, precision), words))
            elif reason:
                left_out.append(NotBuilt(_name(stack, rung, precision), reason))
            elif rung.device == "gpu" and not runs_precision(precision, machine.capabilities[0]):
                words = f"the GPU (compute capability {machine.capabilities[0]}) has no {precision}"
                left_out.append(NotBuilt(_name(stack, rung, precision), words))
            else:
                targets += rung_targets(stack, rung, precision, machine.capabilities[:1])
    if not targets:
        raise StackUnsupported(
            f"no engine of the stack {stack.name} may serve here: {_told(left_out)}"
        )
    return Ladder(stack, tuple(targets), tuple(left_out))


def below_minimum(ladder: Ladder) -> str:
    """The reason why a GPU stack that has only CPU engines here is not ready, with the cure."""
    return (
        f"only the CPU engine of {ladder.stack.name}, a stack for GPUs, can serve here: "
        f"{_told(ladder.left_out)}. It answers, but slowly, and does not count as ready; if the "
        "CPU is enough, set minimum_engine = cpu (ENGINECRATE_MINIMUM_ENGINE=cpu)"
    )


def is_quick(target: Target) -> bool:
    """True when its plan is made in about a second: FP32 on the CPU is the simplified graph itself.

    Such a plan is made in the server's own process, the others in one of their own.
    """
    rung = target.rung
    return (rung.backend, rung.device, target.precision) == ("onnxruntime", "cpu", Precision.FP32)


def climb_order(targets: Sequence[Target], serving: int | None) -> list[int]:
    """In which order the better rungs are built, as positions in `targets`.

    Upwards, so that each step is a small one and something better serves soon; but where there
    are GPU rungs, those on the CPU come last: they are needed only when every GPU rung fails.

    Args:
        targets: best first.
        serving: position of what serves already; `None`: nothing does.
    """
    better = range((len(targets) if serving is None else serving) - 1, -1, -1)
    return sorted(better, key=lambda position: targets[position].rung.device == "cpu")


def _precisions(manifest: Manifest, stack: Stack, rung: Rung) -> Iterator[Precision]:
    precisions = wanted_precisions(manifest)
    if rung.device == "cpu" and rung != stack.rungs[0]:
        precisions = precisions[:1] if precisions[0] in rung.precisions else ()
    yield from dict.fromkeys((*precisions, Precision.FP32))


def _runs(stack: Stack, rung: Rung, machine: MachineFacts) -> bool:
    return not _why_not(stack, rung, machine, "cpu")


def _why_not(stack: Stack, rung: Rung, machine: MachineFacts, minimum: Minimum) -> str:
    """The reason why a rung may not serve here; empty when it may."""
    if rung.device == "cpu":
        if minimum == "gpu" or (minimum == "auto" and stack.is_gpu):
            return (
                "a CPU engine does not count here; allow it with the setting minimum_engine = cpu "
                "(ENGINECRATE_MINIMUM_ENGINE=cpu)"
            )
        return _device_missing(rung, "cpu", machine)
    if machine.container and not machine.driver:
        return f"this container sees no NVIDIA driver; {_GIVE_GPUS}"
    capability = machine.capabilities[0] if machine.capabilities else None
    compatible = check_stack(stack, capability, machine.driver)
    if not compatible.ok:
        return str(compatible)
    if capability is None:
        return "no GPU was found; `enginecrate doctor` tells more"
    return _device_missing(
        rung, "cuda" if rung.backend == "onnxruntime" else capability.sm, machine
    )


def _device_missing(rung: Rung, device: str, machine: MachineFacts) -> str:
    have = machine.devices.get(rung.backend, ())
    if device in have:
        return ""
    return machine.missing.get(rung.backend) or (
        f"{rung.backend} runs here on {', '.join(have) or 'nothing'}, not on {device}"
    )


def _name(stack: Stack, rung: Rung, precision: Precision) -> str:
    return f"{stack.name}, {precision} for {rung.device}"


def _told(left_out: Sequence[NotBuilt]) -> str:
    """Each reason once, with what it is about."""
    names: dict[str, list[str]] = {}
    for target in left_out:
        names.setdefault(target.reason, []).append(target.target.removesuffix(","))
    return "; ".join(f"{' and '.join(named)}: {reason}" for reason, named in names.items())


def machine_facts(stacks: Iterable[Stack]) -> MachineFacts:
    """Look at this machine. GPUs are looked for only when a stack is for GPUs.

    Args:
        stacks: whose backends are of interest.
    """
    rungs = [rung for stack in stacks for rung in stack.rungs]
    devices: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for name in sorted({rung.backend for rung in rungs}):
        try:
            available = get_backend(name).probe()
        except EnginecrateError as exc:
            missing[name] = str(exc)
            continue
        devices[name] = available.devices
        if not available.devices:
            missing[name] = "; ".join(part for part in (available.reason, available.cure) if part)
    wants_gpu = any(rung.device == "gpu" for rung in rungs)
    gpus = probe_gpus() if wants_gpu else ()
    driver = probe_nvidia().driver if wants_gpu else ""
    capabilities = tuple(gpu.compute_capability for gpu in gpus)
    return MachineFacts(capabilities, driver, devices, missing, probe_containers().inside)
