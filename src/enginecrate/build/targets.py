"""The stacks that this version can build plans for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.errors import PrecisionUnsupported, StackUnsupported, nearest
from enginecrate.values import Precision

__all__ = ["STACKS", "Target", "check_precision", "choose_targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan is built for."""

    stack: str
    backend: str


STACKS = {"ort-cpu": Target("ort-cpu", "onnxruntime")}


def choose_targets(stacks: Sequence[str]) -> tuple[list[Target], list[str]]:
    """Split the manifest's stacks into those that can be built, and the names of the others.

    Raises:
        StackUnsupported: none of them can be built.
    """
    buildable = [STACKS[name] for name in dict.fromkeys(stacks) if name in STACKS]
    others = [name for name in dict.fromkeys(stacks) if name not in STACKS]
    if not buildable:
        raise StackUnsupported(
            f"this version builds for {', '.join(STACKS)}, and targets.stacks in the manifest "
            f"names only {', '.join(others)}{nearest(others[0], STACKS) if others else ''}; "
            f"add {next(iter(STACKS))!r} to targets.stacks"
        )
    return buildable, others


def check_precision(precision: Precision) -> None:
    """Refuse what this version cannot build. Raises `PrecisionUnsupported`."""
    if precision is not Precision.FP32:
        raise PrecisionUnsupported(
            f"precision.mode = {precision.value!r} in the manifest: this version builds fp32 "
            "plans only; set precision.mode = 'fp32'"
        )
