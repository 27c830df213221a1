"""The inputs of a trial run: photos that ship with the program, and made-up tensors."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from enginecrate.values import Array, DataType, Profile, Tensors, TensorSpec

__all__ = ["Sample", "as_archive", "shipped_photos", "synthetic_inputs"]

_FOLDER = Path(__file__).parent / "photos"
_PHOTOS = ("astronaut.jpg", "chelsea.jpg")

_SEED = 20

_FLOATS = {DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64}


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: `payload` is what a client would send."""

    name: str
    payload: bytes = field(repr=False)


def shipped_photos() -> tuple[Sample, ...]:
    """The photos that ship with the program: an upright one and a wide one, of different sizes."""
    return tuple(Sample(name, (_FOLDER / name).read_bytes()) for name in _PHOTOS)


def synthetic_inputs(
    specs: Sequence[TensorSpec],
    profiles: Sequence[Profile],
    max_batch: int,
    seed: int = _SEED,
    open_size: int | None = None,
) -> Tensors | None:
    """One sample of tensors, the same ones each time.

    Floats are drawn from the standard normal distribution, whole numbers are 0 (which is always a
    valid index; 0 or 1 with another seed), texts are empty.

    Args:
        specs: of the inputs.
        profiles: the first one's `opt` shape gives the sizes of dynamic dimensions.
        max_batch: 0 when the first dimension is not a batch; else the batch is 1.
        seed: another one gives other floats.
        open_size: of dynamic dimensions that no profile names.

    Returns:
        `None` when a dynamic dimension's size is unknown.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for spec in specs:
        best = profiles[0][spec.name][1] if profiles and spec.name in profiles[0] else spec.shape
        shape = (1, *best[1:]) if max_batch else best
        if open_size is not None:
            shape = tuple(open_size if size == -1 else size for size in shape)
        if -1 in shape:
            return None
        if spec.datatype is DataType.BYTES:
            tensors[spec.name] = np.full(shape, b"", dtype=object)
        elif spec.datatype in _FLOATS:
            tensors[spec.name] = rng.standard_normal(shape).astype(spec.datatype.numpy)
        elif seed == _SEED:
            tensors[spec.name] = np.zeros(shape, spec.datatype.numpy)
        else:
            tensors[spec.name] = rng.integers(0, 2, shape).astype(spec.datatype.numpy)
    return tensors


def as_archive(tensors: Tensors) -> bytes:
    """The `.npz` archive that a client of the task `tensors` would send."""
    file = io.BytesIO()
    arrays = {
        name: array.astype("S1") if array.dtype == object else array
        for name, array in tensors.items()
    }
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()
