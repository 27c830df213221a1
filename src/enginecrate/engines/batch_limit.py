"""Find out whether a model takes batches, and how large ones."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.errors import PlanBuildFailed
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.specs import batch_symbol
from enginecrate.values import Profile

__all__ = ["DEFAULT_MAX_BATCH", "default_profiles", "find_max_batch"]

DEFAULT_MAX_BATCH = 32
"""For a dynamic batch dimension that no profile bounds."""


def find_max_batch(model: OnnxModel, profiles: Sequence[Profile]) -> int:
    """The largest batch that a plan of this model shall take.

    Returns:
        0 when the first dimension is not a dynamic batch on every input and output; else the
        largest first dimension of the profiles, or `DEFAULT_MAX_BATCH` without profiles.

    Raises:
        PlanBuildFailed: one profile gives its inputs different largest batches.
    """
    specs = (*model.inputs, *model.outputs)
    dynamic = bool(model.inputs) and all(spec.shape[:1] == (-1,) for spec in specs)
    if not dynamic or not batch_symbol(model.proto):
        return 0
    largest = 0
    for number, profile in enumerate(profiles):
        batches = {name: shapes[2][0] for name, shapes in profile.items()}
        if len(set(batches.values())) > 1:
            found = ", ".join(f"{name} {batch}" for name, batch in batches.items())
            raise PlanBuildFailed(
                f"profile {number} gives the inputs different largest batches ({found}); "
                "correct model.profiles in the manifest"
            )
        largest = max(largest, *batches.values(), 0)
    return largest or DEFAULT_MAX_BATCH


def default_profiles(model: OnnxModel) -> tuple[Profile, ...]:
    """The profile of a model whose only dynamic dimensions are its batch: 1, 8, 32.

    Empty for a model without dynamic dimensions, and for one with others: then only the vendor
    knows the sizes.
    """
    dynamic = [spec for spec in model.inputs if -1 in spec.shape]
    if not dynamic or not find_max_batch(model, ()):
        return ()
    if any(-1 in spec.shape[1:] for spec in model.inputs):
        return ()
    low, best, high = 1, 8, DEFAULT_MAX_BATCH
    return (
        {
            spec.name: tuple((size, *spec.shape[1:]) for size in (low, best, high))  # type: ignore[misc]
            for spec in model.inputs
        },
    )
