"""The NVIDIA driver and its GPUs, and what runs on them."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.stacks.doctor.findings import GIB, Finding
from enginecrate.stacks.machine.devices import Gpu, NvidiaFacts
from enginecrate.stacks.machine.machine import Machine
from enginecrate.stacks.stack_rules import stacks_for
from enginecrate.stacks.versions import numbers

__all__ = ["driver_version", "examine_gpus"]


def examine_gpus(machine: Machine) -> Iterator[Finding]:
    """Every finding about the driver, each GPU, and how GPUs are shared."""
    yield from _driver(machine)
    for gpu in machine.nvidia.gpus:
        yield from _gpu(gpu)
    if machine.nvidia.gpus:
        yield from _hidden(machine.nvidia)
        yield from _sharing(machine)
        if machine.system == "Linux":  # elsewhere the finding about the platform says enough
            yield from _stacks(machine)


def driver_version(nvidia: NvidiaFacts) -> str:
    """The driver's version when it can be compared; else empty."""
    try:
        numbers(nvidia.driver)
    except ValueError:
        return ""
    return nvidia.driver


def _driver(machine: Machine) -> Iterator[Finding]:
    nvidia = machine.nvidia
    if nvidia.gpus:
        count = "1 GPU" if len(nvidia.gpus) == 1 else f"{len(nvidia.gpus)} GPUs"
        yield Finding("nvidia", "ok", f"NVIDIA driver {nvidia.driver} with {count}")
    elif nvidia.driver or nvidia.problem:
        inside = machine.containers.inside
        yield Finding(
            "nvidia",
            "warn",
            f"NVIDIA driver {nvidia.driver or 'without a version'}: "
            f"{nvidia.problem or 'it lists no GPU'}",
            "pass the GPUs into this container (docker run --gpus all, or "
            "podman run --device nvidia.com/gpu=all)"
            if inside
            else "restart the machine after an update of the driver, or install the driver again",
        )
    elif nvidia.hardware and not machine.containers.inside:
        yield Finding(
            "nvidia",
            "warn",
            "there is an NVIDIA GPU and no NVIDIA driver: models run on the CPU",
            "install NVIDIA's driver",
        )
    else:  # what a stack for GPUs lacks is said of the stack
        yield Finding("nvidia", "ok", "no NVIDIA driver: models run on the CPU")


def _gpu(gpu: Gpu) -> Iterator[Finding]:
    check = f"gpu {gpu.index}"
    words = f"{gpu.name}, compute capability {gpu.compute_capability}"
    if gpu.memory_bytes:
        free = f"{gpu.free_bytes / GIB:.1f} of {gpu.memory_bytes / GIB:.1f} GiB"
        words += f", {free} of memory free"
    if gpu.compute_mode == "Prohibited":
        yield Finding(
            check,
            "fail",
            f"{words}: its compute mode is Prohibited, so nothing can run on it",
            f"as root: nvidia-smi -i {gpu.index} --compute-mode DEFAULT",
        )
    elif gpu.memory_bytes and gpu.free_bytes < gpu.memory_bytes // 10:
        yield Finding(
            check,
            "warn",
            f"{words}: too little for most plans",
            "end the programs that use it (nvidia-smi lists them), or choose another GPU with "
            "CUDA_VISIBLE_DEVICES",
        )
    else:
        yield Finding(check, "ok", words)


def _hidden(nvidia: NvidiaFacts) -> Iterator[Finding]:
    if nvidia.hidden:
        status: str = "fail" if nvidia.hidden == len(nvidia.gpus) else "ok"
        message = f"CUDA_VISIBLE_DEVICES hides {nvidia.hidden} of {len(nvidia.gpus)} GPUs"
        if status == "fail":
            yield Finding("visible", "fail", message, "unset it, or name a GPU that there is")
        else:
            yield Finding("visible", "ok", message)


def _sharing(machine: Machine) -> Iterator[Finding]:
    sliced = [gpu for gpu in machine.nvidia.gpus if gpu.mig == "enabled"]
    if sliced:
        names = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in sliced)
        yield Finding(
            "mig",
            "warn",
            f"Multi-Instance GPU is on: GPU {names}; a process sees one slice, and the memory "
            "shown is that of the whole GPU",
            "name the slice to use: CUDA_VISIBLE_DEVICES=MIG-... (`nvidia-smi -L` lists them)",
        )
    exclusive = [gpu for gpu in machine.nvidia.gpus if gpu.compute_mode.startswith("Exclusive")]
    if machine.mps:
        yield Finding("mps", "ok", "CUDA's Multi-Process Service runs: GPUs are shared")
    elif exclusive:
        yield Finding(
            "compute mode",
            "warn",
            f"GPU {', '.join(str(gpu.index) for gpu in exclusive)} lets one process in at a time",
            "end other programs before serving, or as root: nvidia-smi --compute-mode DEFAULT",
        )


def _stacks(machine: Machine) -> Iterator[Finding]:
    """A finding about the stacks for GPUs that the first GPU and the driver can run."""
    gpu = machine.nvidia.gpus[0]
    driver = driver_version(machine.nvidia)
    answers = stacks_for(gpu.compute_capability, driver, platform=machine.platform)
    running = [name for name, answer in answers.items() if answer.ok and name != "ort-cpu"]
    if running:
        yield Finding("stacks", "ok", f"stacks for GPUs that can run here: {', '.join(running)}")
        return
    close = min((answer.reasons for answer in answers.values() if answer.reasons), key=len)
    yield Finding(
        "stacks", "warn", f"no stack for GPUs can run here: {close[0].message}", close[0].cure
    )
