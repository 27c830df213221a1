"""Stacks, GPUs and precisions that a manifest names."""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.builder.check.fault import CheckFault, Key
from enginecrate.builder.plans.targets import choose_targets, unbuilt_gpus, wanted_precisions
from enginecrate.errors import EnginecrateError, StackUnsupported
from enginecrate.manifest import Manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.gpus import capability_of

__all__ = ["target_faults"]


def target_faults(manifest: Manifest) -> Iterator[CheckFault]:
    """Names that do not exist or stand there twice, GPUs and precisions that nothing serves."""
    targets = manifest.targets
    known = True
    for section, names, look_up in (
        ("stacks", targets.stacks, get_stack),
        ("gpus", targets.gpus, capability_of),
    ):
        for index, name in enumerate(names):
            try:
                look_up(name)
            except EnginecrateError as exc:
                known = False
                yield CheckFault(("targets", section, index), str(exc), exc.code)
            if name in names[:index]:
                yield CheckFault(("targets", section, index), f"{name!r} stands there twice")
    if not known:
        return
    for name, reason in unbuilt_gpus(manifest).items():
        index = targets.gpus.index(name)
        yield CheckFault(("targets", "gpus", index), reason, StackUnsupported.code)
    yield from _precision_faults(manifest)


def _precision_faults(manifest: Manifest) -> Iterator[CheckFault]:
    """Precisions that no stack of the manifest runs, and those that one of them does not."""
    try:
        built, others = choose_targets(manifest)
    except StackUnsupported as exc:
        yield CheckFault(("targets",), str(exc), exc.code)
        return
    for precision in wanted_precisions(manifest):
        names = manifest.targets.precisions
        key: Key = ("precision", "mode")
        if precision.value != manifest.precision.mode:
            key = ("targets", "precisions", names.index(precision.value))
        reasons = [
            f"{one.target}: {one.reason}" for one in others if f", {precision}" in one.target
        ]
        if not any(target.precision is precision for target in built):
            words = "; ".join(reasons)
            message = f"no stack of targets.stacks runs {precision} ({words}); choose another"
            yield CheckFault(key, message, StackUnsupported.code)
        else:
            for reason in reasons:
                yield CheckFault(key, f"nothing is built for {reason}", warning=True)
