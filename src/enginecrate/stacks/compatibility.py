"""Compatibility of a plan with a GPU, a driver and a stack: rules, refusals, and their cures.

The rules look at facts: nothing is probed. Each rule is a function that yields refusals. Their
sources:

- versions, platforms, hardware compatibility: TensorRT, "Engine Compatibility",
  https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/inference-library/engine-compatibility.html,
  and the support matrix of 11.4.1 (8 runs on 10 and 10 on 11, nothing else across major versions)
- drivers and GPUs of a stack: `stacks/stack_rules.py`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from enginecrate.stacks.catalog import Stack
from enginecrate.stacks.machine.devices import Gpu
from enginecrate.stacks.stack_rules import (
    Compatibility,
    Refusal,
    stack_capability,
    stack_driver,
    stack_notes,
    stack_platform,
)
from enginecrate.stacks.versions import numbers, same_release
from enginecrate.values import ComputeCapability, PlanInfo, Precision

__all__ = ["check", "runs_precision"]

_LEAST_CAPABILITY = {
    Precision.INT8: ComputeCapability(6, 1),
    Precision.FP16: ComputeCapability(7, 0),
    Precision.BF16: ComputeCapability(8, 0),
    Precision.FP8: ComputeCapability(8, 9),
}
"""The first hardware that has it (TensorRT's support matrices, "Hardware and Precision")."""

_RUNS_ACROSS = {(8, 10), (10, 11)}
"""Major versions of TensorRT: version-compatible plans of the first run on the second."""

_VERSION_COMPATIBLE_SINCE = (8, 6)


@dataclass(frozen=True, slots=True)
class _Facts:
    plan: PlanInfo
    gpu: Gpu | None
    driver: str
    stack: Stack
    platform: str
    backend_version: str

    @property
    def target(self) -> ComputeCapability | None:
        """The compute capability that the plan was built for; `None`: `cpu` or any GPU."""
        try:
            return ComputeCapability.parse(self.plan.device)
        except ValueError:
            return None


def check(
    plan: PlanInfo,
    gpu: Gpu | None,
    driver: str,
    stack: Stack,
    *,
    platform: str = "",
    backend_version: str = "",
) -> Compatibility:
    """Judge whether a plan runs, and give every rule that says no.

    Args:
        plan: its sidecar.
        gpu: that it shall run on; `None`: there is none.
        driver: version of the NVIDIA driver; empty: there is none.
        stack: whose libraries run it.
        platform: of the machine (`linux/amd64`); empty: any that the stack has.
        backend_version: of the library that is installed; empty: as the stack's data say.
    """
    facts = _Facts(plan, gpu, driver, stack, platform, backend_version)
    rules = _CPU_RULES if plan.device == "cpu" else _CPU_RULES + _GPU_RULES
    reasons = tuple(refusal for rule in rules for refusal in rule(facts))
    return Compatibility(not reasons, reasons, () if reasons else tuple(_notes(facts)))


def runs_precision(precision: Precision, capability: ComputeCapability) -> bool:
    """True when GPUs of this compute capability have the arithmetic of a precision."""
    least = _LEAST_CAPABILITY.get(precision)
    return least is None or capability >= least


def _stack(facts: _Facts) -> Iterator[Refusal]:
    plan, stack = facts.plan, facts.stack
    if plan.stack == stack.name or (plan.backend == "tensorrt" and plan.version_compatible):
        return
    yield Refusal(
        "stack",
        f"the plan was built for the stack {plan.stack}, and this is {stack.name}",
        f"use the stack {plan.stack}, or build the plan again for {stack.name}",
    )


def _rung(facts: _Facts) -> Iterator[Refusal]:
    device = "cpu" if facts.plan.device == "cpu" else "gpu"
    if not any((r.backend, r.device) == (facts.plan.backend, device) for r in facts.stack.rungs):
        rungs = ", ".join(f"{r.backend} on {r.device}" for r in facts.stack.rungs)
        yield Refusal(
            "backend",
            f"the plan needs {facts.plan.backend} on {device}, and the stack {facts.stack.name} "
            f"has {rungs}",
            "use a stack that has it (`enginecrate stacks`), or build the plan again",
        )


def _platform(facts: _Facts) -> Iterator[Refusal]:
    if facts.platform and facts.plan.platform != facts.platform:
        yield Refusal(
            "platform",
            f"the plan was built on {facts.plan.platform}, and this machine is {facts.platform}",
            f"build it again on {facts.platform}: plans never move between operating systems or "
            "processor architectures",
        )
    yield from stack_platform(facts.stack, facts.platform or facts.plan.platform)


def _backend_version(facts: _Facts) -> Iterator[Refusal]:
    plan = facts.plan
    have = facts.backend_version or facts.stack.versions.get(plan.backend, "")
    if not have or same_release(have, plan.backend_version):
        return
    message = f"the plan was built with {plan.backend} {plan.backend_version}, and {have} is here"
    again = f"build the plan again with {plan.backend} {have}"
    if plan.backend != "tensorrt":
        yield Refusal("backend_version", message, f"{again}, or install {plan.backend_version}")
        return
    if not plan.version_compatible:
        cure = f"{again}; `version_compatible = true` in [build] lets newer versions run a plan"
        yield Refusal("backend_version", message, cure)
    elif not _runs_on(numbers(plan.backend_version), numbers(have)):
        cure = (
            f"{again}: a version-compatible plan runs on newer versions of the same major version, "
            "one of 8 (from 8.6 on) also on 10, and one of 10 also on 11"
        )
        yield Refusal("backend_version", message, cure)


def _runs_on(built: tuple[int, ...], running: tuple[int, ...]) -> bool:
    """True when a version-compatible plan of one TensorRT runs on another."""
    if min(built, running) < _VERSION_COMPATIBLE_SINCE:
        return False
    if built[0] == running[0]:
        return running >= built[: len(running)]
    return (built[0], running[0]) in _RUNS_ACROSS


def _gpu(facts: _Facts) -> Iterator[Refusal]:
    if facts.gpu is None:
        yield Refusal(
            "gpu",
            f"the plan is for a GPU ({facts.plan.device}), and there is none here",
            "run it on a machine with an NVIDIA GPU (in a container: with the GPUs passed "
            "through), or use a plan for the CPU",
        )


def _driver(facts: _Facts) -> Iterator[Refusal]:
    if facts.gpu is not None:
        yield from stack_driver(facts.stack, facts.driver)


def _capability(facts: _Facts) -> Iterator[Refusal]:
    if facts.gpu is not None:
        yield from stack_capability(facts.stack, facts.gpu.compute_capability, facts.gpu.name)


def _architecture(facts: _Facts) -> Iterator[Refusal]:
    built, gpu = facts.target, facts.gpu
    if built is None or gpu is None or built == gpu.compute_capability:
        return
    message = (
        f"the plan was built for compute capability {built}, and {gpu.name} has "
        f"{gpu.compute_capability}"
    )
    cure = f"build it for this GPU: add {str(gpu.compute_capability)!r} to targets.gpus"
    if facts.plan.hardware_compatibility == "ampere_plus":
        if "jetpack" in facts.stack.versions:
            cure += "; hardware compatibility does not exist on JetPack"
        elif min(built, gpu.compute_capability) >= (8, 0):
            return
        else:
            cure += "; hardware compatibility `ampere_plus` begins with 8.0"
    elif facts.plan.hardware_compatibility == "none" and facts.plan.backend == "tensorrt":
        cure += ", or set `hardware_compatibility` in [build]"
    yield Refusal("architecture", message, cure)


def _precision(facts: _Facts) -> Iterator[Refusal]:
    if facts.gpu is None:
        return
    asked = {facts.plan.precision, *(layer.precision for layer in facts.plan.layers)}
    for precision in sorted(asked):
        if not runs_precision(precision, facts.gpu.compute_capability):
            yield Refusal(
                "precision",
                f"{precision} needs compute capability {_LEAST_CAPABILITY[precision]} or later, "
                f"and {facts.gpu.name} has {facts.gpu.compute_capability}",
                "build a plan of another precision for this GPU, for example fp16",
            )


def _memory(facts: _Facts) -> Iterator[Refusal]:
    gpu = facts.gpu
    if gpu is None or gpu.memory_bytes == 0 or facts.plan.plan_bytes <= gpu.memory_bytes:
        return
    yield Refusal(
        "memory",
        f"the plan alone has {facts.plan.plan_bytes / 2**30:.1f} GiB, and {gpu.name} has "
        f"{gpu.memory_bytes / 2**30:.1f} GiB of memory",
        "use a GPU with more memory, or a plan of a smaller precision",
    )


def _notes(facts: _Facts) -> Iterator[str]:
    plan, gpu = facts.plan, facts.gpu
    if plan.device == "cpu" or gpu is None:
        return
    yield from stack_notes(facts.stack, gpu.compute_capability, facts.driver)
    if (
        plan.gpu_name
        and plan.gpu_name != gpu.name
        and plan.hardware_compatibility == "none"
        and plan.backend == "tensorrt"
    ):
        yield (
            f"the plan was built on {plan.gpu_name}: on {gpu.name} it may be slower than one that "
            "was built there"
        )
    if gpu.free_bytes and plan.plan_bytes > gpu.free_bytes:
        yield (
            f"{gpu.name} has {gpu.free_bytes / 2**30:.1f} GiB of memory free, less than the plan "
            "needs: another program uses it"
        )


_Rule = Callable[[_Facts], Iterator[Refusal]]
_CPU_RULES: tuple[_Rule, ...] = (_stack, _rung, _platform, _backend_version)
_GPU_RULES: tuple[_Rule, ...] = (
    _gpu,
    _driver,
    _capability,
    _architecture,
    _precision,
    _memory,
)
