"""Inputs for an app that has no golden samples: enough to compare and to time, proof of nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enginecrate.values import Array, DataType, Profile, Tensors, TensorSpec

__all__ = ["synthetic_inputs"]

_SEED = 20
_FLOATS = {DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64}


def synthetic_inputs(
    specs: Sequence[TensorSpec], profiles: Sequence[Profile], max_batch: int
) -> Tensors | None:
    """One sample of tensors, the same ones each time.

    Floats are drawn from the standard normal distribution, whole numbers are 0 (which is always a
    valid index), texts are empty.

    Args:
        specs: of the inputs.
        profiles: the first one's `opt` shape gives the sizes of dynamic dimensions.
        max_batch: 0 when the first dimension is not a batch; else the batch is 1.

    Returns:
        `None` when a dynamic dimension's size is unknown.
    """
    rng = np.random.default_rng(_SEED)
    tensors: dict[str, Array] = {}
    for spec in specs:
        best = profiles[0][spec.name][1] if profiles and spec.name in profiles[0] else spec.shape
        shape = (1, *best[1:]) if max_batch else best
        if -1 in shape:
            return None
        if spec.datatype is DataType.BYTES:
            tensors[spec.name] = np.full(shape, b"", dtype=object)
        elif spec.datatype in _FLOATS:
            tensors[spec.name] = rng.standard_normal(shape).astype(spec.datatype.numpy)
        else:
            tensors[spec.name] = np.zeros(shape, spec.datatype.numpy)
    return tensors
