"""Inputs of an engine on a GPU: arrays on the host, and arrays of others on that GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enginecrate.cuda.arrays import Foreign, is_device_array, read_foreign
from enginecrate.engines.check import check_inputs
from enginecrate.errors import TensorMismatch
from enginecrate.values import Array, TensorSpec

__all__ = ["DeviceTensors", "Given", "take_inputs"]

DeviceTensors = Mapping[str, Any]
"""Named arrays on the host (NumPy) or on the GPU (`__dlpack__`, `__cuda_array_interface__`)."""

Given = Mapping[str, Array | Foreign]
"""Inputs that were checked."""


def take_inputs(
    specs: Sequence[TensorSpec],
    inputs: DeviceTensors,
    max_batch: int,
    device: int,
    *,
    host_is_device: bool = False,
) -> tuple[Given, int]:
    """Look at device arrays in the caller's thread, whose stream they belong to, and check all.

    Args:
        specs: what the engine takes.
        inputs: one array for each input.
        max_batch: the largest batch; 0 when the first dimension is not a batch.
        device: number of the engine's GPU.
        host_is_device: whether the host's memory stands for the GPU's.

    Returns:
        The inputs, and the size of the batch (`check_inputs`).

    Raises:
        TensorMismatch: an input is missing, unknown, of the wrong shape, datatype or device.
    """
    given = {
        name: _taken(name, value, device, host_is_device=host_is_device)
        for name, value in inputs.items()
    }
    looks = {name: _stand_in(value) for name, value in given.items()}
    return given, check_inputs(specs, looks, max_batch)


def _taken(name: str, value: Any, device: int, *, host_is_device: bool) -> Array | Foreign:
    if not is_device_array(value):
        return value  # type: ignore[no-any-return]  # the check says what is wrong with it
    foreign = read_foreign(name, value)
    if foreign.on_host and not host_is_device:
        return np.from_dlpack(value)
    if foreign.device not in (None, device):
        raise TensorMismatch(
            f"input {name!r}: the array is on GPU {foreign.device}, and this engine runs on "
            f"GPU {device}; move it there"
        )
    return foreign


def _stand_in(value: Any) -> Any:
    """Looks like the array to the check of shapes and datatypes, without its memory."""
    if isinstance(value, Foreign):
        return np.broadcast_to(np.empty((), value.dtype), value.shape)
    return value
