"""The targets of a manifest: stacks x GPUs x precisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginecrate.errors import StackUnsupported
from enginecrate.graph.typed import Scheme
from enginecrate.manifest import Manifest
from enginecrate.stacks.catalog import Rung, Stack, get_stack
from enginecrate.stacks.compatibility import runs_precision
from enginecrate.stacks.gpus import capability_of
from enginecrate.values import ComputeCapability, Precision

__all__ = [
    "NotBuilt",
    "Target",
    "choose_targets",
    "require_gpus",
    "rung_targets",
    "unbuilt_gpus",
    "wanted_precisions",
]


@dataclass(frozen=True, slots=True)
class Target:
    """One plan to build. `device`: `cpu`, `cuda` (any GPU of the stack) or `sm86`."""

    stack: Stack
    rung: Rung
    device: str
    precision: Precision

    @property
    def scheme(self) -> Scheme:
        """The scheme of its graph, if it is quantised."""
        if self.rung.device == "cpu":
            return Scheme.CPU
        return Scheme.FP8 if self.precision is Precision.FP8 else Scheme.TENSORRT

    def __str__(self) -> str:
        return f"{self.stack.name}, {self.precision} for {self.device}"


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A target that is not built, and why, and what to do."""

    target: str
    reason: str


def wanted_precisions(manifest: Manifest) -> tuple[Precision, ...]:
    """The precisions to build, the manifest's own (`precision.mode`) first."""
    others = (Precision(name) for name in manifest.targets.precisions)
    return tuple(dict.fromkeys((manifest.precision.precision, *others)))


def choose_targets(manifest: Manifest) -> tuple[list[Target], list[NotBuilt]]:
    """Every target of a manifest, and what cannot be one.

    The best rung of each stack is built in every precision; a GPU stack's CPU rung, the last
    resort, in fp32.

    Raises:
        StackUnknown, GpuUnknown: a name in the manifest.
        StackUnsupported: nothing at all can be built.
    """
    targets: list[Target] = []
    others: list[NotBuilt] = []
    capabilities = {name: capability_of(name) for name in manifest.targets.gpus}
    for stack in (get_stack(name) for name in dict.fromkeys(manifest.targets.stacks)):
        fitting = [one for one in capabilities.values() if one in stack.compute_capabilities]
        if stack.is_gpu:
            others += _foreign_gpus(stack, capabilities)
        first = stack.rungs[0]
        for precision in wanted_precisions(manifest):
            if precision in first.precisions:
                targets += rung_targets(stack, first, precision, fitting)
                others += _without_arithmetic(stack, first, precision, fitting)
            else:
                reason = f"the stack does not run {precision} ({', '.join(first.precisions)})"
                others.append(NotBuilt(f"{stack.name}, {precision}", reason))
        targets += [
            target
            for rung in stack.rungs[1:]
            if rung.device == "cpu"
            for target in rung_targets(stack, rung, Precision.FP32, ())
        ]
    if not targets:
        reasons = "; ".join(f"{one.target}: {one.reason}" for one in others)
        raise StackUnsupported(
            f"nothing can be built: {reasons}; correct [targets] in the manifest"
        )
    return targets, others


def unbuilt_gpus(manifest: Manifest) -> dict[str, str]:
    """The GPUs of `targets.gpus` for which nothing is built, each with the reason.

    Raises:
        StackUnknown, GpuUnknown: a name in the manifest.
    """
    stacks = [get_stack(name) for name in dict.fromkeys(manifest.targets.stacks)]
    unbuilt: dict[str, str] = {}
    for name in manifest.targets.gpus:
        capability = capability_of(name)
        fitting = [stack for stack in stacks if capability in stack.compute_capabilities]
        precisions = [
            precision
            for stack in fitting
            for precision in wanted_precisions(manifest)
            if precision in stack.rungs[0].precisions and runs_precision(precision, capability)
        ]
        if not fitting:
            listed = ", ".join(stack.name for stack in stacks)
            unbuilt[name] = (
                f"nothing is built for {name} (compute capability {capability}): {listed} "
                f"{'does' if len(stacks) == 1 else 'do'} not run there; choose a stack that does: "
                f"enginecrate stacks --gpu {capability}"
            )
        elif not precisions:
            wanted = ", ".join(wanted_precisions(manifest))
            unbuilt[name] = (
                f"nothing is built for {name} (compute capability {capability}): it does not "
                f"calculate in {wanted}, or the stack does not; add fp16"
            )
    return unbuilt


def require_gpus(manifest: Manifest) -> None:
    """Check that something is built for every GPU. Raises `StackUnsupported`."""
    if unbuilt := unbuilt_gpus(manifest):
        raise StackUnsupported("; ".join(unbuilt.values()))


def rung_targets(
    stack: Stack, rung: Rung, precision: Precision, capabilities: Sequence[ComputeCapability]
) -> Iterator[Target]:
    """The targets of one rung in one precision.

    Args:
        stack: that the rung belongs to.
        rung: what builds and runs.
        precision: to build; GPUs that lack its arithmetic are left out.
        capabilities: of the GPUs; without any, all that the stack runs on.
    """
    if rung.device == "cpu":
        yield Target(stack, rung, "cpu", precision)
    elif rung.backend == "onnxruntime":
        yield Target(stack, rung, "cuda", precision)
    else:
        for capability in dict.fromkeys(capabilities or stack.compute_capabilities):
            if runs_precision(precision, capability):
                yield Target(stack, rung, capability.sm, precision)


def _without_arithmetic(
    stack: Stack, rung: Rung, precision: Precision, capabilities: Sequence[ComputeCapability]
) -> Iterator[NotBuilt]:
    if rung.device == "cpu" or rung.backend == "onnxruntime":
        return
    for capability in dict.fromkeys(capabilities or stack.compute_capabilities):
        if not runs_precision(precision, capability):
            yield NotBuilt(
                f"{stack.name}, {precision} for {capability.sm}",
                f"GPUs of compute capability {capability} do not calculate in {precision}; "
                "use fp16 for them",
            )


def _foreign_gpus(stack: Stack, capabilities: dict[str, ComputeCapability]) -> Iterator[NotBuilt]:
    for name, capability in capabilities.items():
        if capability not in stack.compute_capabilities:
            runs = ", ".join(map(str, stack.compute_capabilities))
            yield NotBuilt(
                f"{stack.name} for {name}",
                f"{name} has compute capability {capability}, and the stack runs on {runs}",
            )
