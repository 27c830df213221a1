"""Compatibility of a stack with a GPU, a driver and a platform: rules over its data.

Drivers: CUDA, "Minor Version Compatibility" and "Forward Compatibility",
https://docs.nvidia.com/deploy/cuda-compatibility/.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from enginecrate.stacks.catalog import Stack, load_stacks
from enginecrate.stacks.versions import at_least
from enginecrate.values import ComputeCapability

__all__ = [
    "Compatibility",
    "Refusal",
    "check_stack",
    "stack_capability",
    "stack_driver",
    "stack_notes",
    "stack_platform",
    "stacks_for",
]


class Refusal(msgspec.Struct, frozen=True):
    """A rule that says no. `cure`: what to do about it."""

    rule: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.message}; {self.cure}"


class Compatibility(msgspec.Struct, frozen=True):
    """The answer. `notes`: facts that refuse nothing, but are worth knowing."""

    ok: bool
    reasons: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.reasons)) or "compatible"


def check_stack(
    stack: Stack,
    capability: ComputeCapability | None,
    driver: str | None,
    *,
    platform: str = "",
) -> Compatibility:
    """Judge whether a stack's best engine runs on a machine.

    Args:
        stack: to judge.
        capability: of the machine's GPU; `None`: this is not asked.
        driver: of the machine; `None`: this is not asked; empty: there is none.
        platform: of the machine; empty: this is not asked.
    """
    reasons = [*stack_platform(stack, platform)]
    notes: list[str] = []
    if stack.is_gpu:
        if capability is not None:
            reasons += stack_capability(stack, capability)
        if driver is not None:
            reasons += stack_driver(stack, driver)
        notes = [*stack_notes(stack, capability, driver or "")]
    return Compatibility(not reasons, tuple(reasons), () if reasons else tuple(notes))


def stacks_for(
    capability: ComputeCapability | None, driver: str | None, *, platform: str = ""
) -> dict[str, Compatibility]:
    """The answer for every stack, by name. Arguments as for `check_stack`."""
    return {
        name: check_stack(stack, capability, driver, platform=platform)
        for name, stack in load_stacks().items()
    }


def stack_platform(stack: Stack, platform: str) -> Iterator[Refusal]:
    """Refuse a platform that the stack does not exist for; an empty one is not asked about."""
    if platform and platform not in stack.platforms:
        yield Refusal(
            "platform",
            f"the stack {stack.name} is for {', '.join(stack.platforms)}, not for {platform}",
            "choose another stack: `enginecrate stacks`",
        )


def stack_driver(stack: Stack, driver: str) -> Iterator[Refusal]:
    """Refuse a driver that is too old; empty: there is none."""
    if not driver:
        least = f" >= {stack.minimum_driver}" if stack.minimum_driver else ""
        yield Refusal(
            "driver",
            f"the stack {stack.name} needs an NVIDIA driver{least}, and there is none",
            "install the driver, or choose a stack for the CPU, such as ort-cpu",
        )
    elif not stack.minimum_driver:
        return
    elif not at_least(driver, stack.minimum_driver):
        package = f"cuda-compat-{stack.versions.get('cuda', '').replace('.', '-')}"
        yield Refusal(
            "driver",
            f"the stack {stack.name} needs NVIDIA driver >= {stack.minimum_driver}, found {driver}",
            "upgrade the driver, or choose a stack that it can run: `enginecrate stacks --driver "
            f"{driver}`; on data-centre GPUs NVIDIA's forward compatibility package ({package}) "
            "may do, too, which enginecrate does not test",
        )


def stack_capability(
    stack: Stack, capability: ComputeCapability, name: str = ""
) -> Iterator[Refusal]:
    """Refuse GPUs that the stack does not run on; `name`: of the GPU, for the message."""
    if stack.is_gpu and capability not in stack.compute_capabilities:
        runs = ", ".join(map(str, stack.compute_capabilities))
        what = f"{name} has compute capability" if name else "compute capability"
        yield Refusal(
            "compute_capability",
            f"{what} {capability}: the stack {stack.name} runs on {runs}",
            f"choose a stack that runs there: `enginecrate stacks --gpu {capability}`",
        )


def stack_notes(stack: Stack, capability: ComputeCapability | None, driver: str) -> Iterator[str]:
    """Notes about a stack on such a GPU and driver: no refusals, but worth knowing."""
    if capability is not None and capability in stack.unconfirmed:
        yield (
            f"it is not confirmed yet that the stack {stack.name} runs on compute capability "
            f"{capability}: run `enginecrate conformance` there first"
        )
    if driver and stack.toolkit_driver and not at_least(driver, stack.toolkit_driver):
        yield (
            f"driver {driver} is older than {stack.toolkit_driver}, which came with CUDA "
            f"{stack.versions['cuda']}: CUDA's minor-version compatibility applies, with fewer "
            "features"
        )
