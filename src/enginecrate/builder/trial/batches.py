"""A batch of different samples gives each of them the answer that it gets alone.

A graph may be right for the first sample of a batch only, or mix the samples: a batch of 1 that was
written into it, a Reshape that folds the batch, a normalisation over it. Such an app is served one
by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from enginecrate.errors import EnginecrateError
from enginecrate.values import Array, Precision, Tensors, TensorSpec

__all__ = ["LEAST", "BatchCheck", "Runner", "Single", "check_batches", "first_difference"]

_MOST_BYTES = 256 << 20
"""Of the inputs and outputs of one batch."""

_CLOSE = {Precision.FP32: (1e-3, 1e-2), Precision.FP16: (2e-2, 1e-1)}
_CLOSE_OTHERS = (5e-2, 2e-1)
"""Difference that batch sizes may make, as a share of what an output's channel reaches: of most
numbers, and of each, since it grows behind a steep function. Kernels for another size add in
another order, and a step of a quantised layer may be rounded the other way.
"""

_MOST = 0.99

_NOISE = 2e-5
"""Difference that sums in another order make, as a share of what the whole output reaches."""

LEAST = 1e-6
"""Difference that is never one: a sigmoid that saturates gives 0 within this."""

_ONE_STEP = 1
"""Whole numbers of 8 bits, such as pixels, may be rounded the other way."""


class Runner(Protocol):
    """The part of an `Engine` that a trial needs."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...
    @property
    def outputs(self) -> Sequence[TensorSpec]: ...
    @property
    def max_batch(self) -> int: ...

    def run(self, inputs: Tensors) -> Tensors: ...


@dataclass(frozen=True, slots=True)
class Single:
    """One sample, and the outputs that it got alone."""

    name: str
    inputs: Tensors
    outputs: Tensors


class BatchCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome.

    sizes: batches that were run.
    mixed: why the app must be served one by one; empty when it need not.
    unseen: why nothing can be said about batches; empty when something can.
    """

    sizes: tuple[int, ...] = ()
    mixed: str = ""
    unseen: str = ""


SameResult = Callable[[Single, Tensors], bool]
"""True when a sample's outputs out of a batch give the result that the sample gives alone."""


def check_batches(
    engine: Runner,
    singles: Sequence[Single],
    precision: Precision,
    *,
    seconds: float,
    same_result: SameResult | None = None,
) -> BatchCheck:
    """Run batches of different samples, and compare each sample with its own run alone.

    A batch of 2 is run, and the largest that the engine takes within the limits on time and
    memory.

    Args:
        engine: with a batch dimension, unless its `max_batch` is 0.
        singles: samples that were run alone; those with other shapes than the first are left out.
        precision: of the engine's plan.
        seconds: that the largest batch may take, as far as the batch of 2 tells.
        same_result: asked about outputs that differ: rows may have changed places.
    """
    if engine.max_batch < 2:
        return BatchCheck()
    rows = _different(engine, singles)
    if len(rows) < 2:
        return BatchCheck(unseen="there are no two different samples of the same shape")
    sizes: list[int] = []
    size = 2
    while size:
        sizes.append(size)
        start = time.perf_counter()
        mixed = _mixed(engine, rows, size, precision, same_result)
        if mixed and any(_is_random(engine, row, precision) for row in rows):
            return BatchCheck(
                sizes=tuple(sizes), unseen="the model gives other numbers in every run"
            )
        if mixed:
            return BatchCheck(sizes=tuple(sizes), mixed=mixed)
        each = (time.perf_counter() - start) / size
        size = _largest(engine, rows, each, seconds) if len(sizes) == 1 else 0
    if _is_silent(rows):
        return BatchCheck(sizes=tuple(sizes), unseen="the model found nothing in any sample")
    return BatchCheck(sizes=tuple(sizes))


def _different(engine: Runner, singles: Sequence[Single]) -> list[Single]:
    """Samples of the first one's shapes that differ from it, the first one before them.

    Where there is no second one, the first is mirrored.
    """
    if not singles:
        return []
    first = singles[0]
    others = [
        one for one in singles[1:] if _shapes(one) == _shapes(first) and not _equal(one, first)
    ]
    if not others:
        inputs = {
            name: np.ascontiguousarray(array[..., ::-1]) if array.ndim > 1 else array
            for name, array in first.inputs.items()
        }
        try:
            mirrored = Single(f"{first.name}, mirrored", inputs, engine.run(inputs))
        except EnginecrateError:
            return [first]
        others = [] if _equal(mirrored, first) else [mirrored]
    return [first, *others]


def _shapes(single: Single) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in single.inputs.items()}


def _equal(one: Single, other: Single) -> bool:
    return all(np.array_equal(array, other.inputs[name]) for name, array in one.inputs.items())


def _largest(engine: Runner, rows: Sequence[Single], each: float, seconds: float) -> int:
    """The largest batch within the limits; 0 when that is no more than 2."""
    tensors = [*rows[0].inputs.values(), *rows[0].outputs.values()]
    size_bytes = sum(array.nbytes for array in tensors)
    most = min(engine.max_batch, int(seconds / max(each, 1e-9)), _MOST_BYTES // (size_bytes or 1))
    return most if most > 2 else 0


def _mixed(
    engine: Runner,
    rows: Sequence[Single],
    size: int,
    precision: Precision,
    same_result: SameResult | None,
) -> str:
    """Why the answers of one batch are wrong; empty when they are right."""
    # From the last to the first, so that the first place is not always the same sample's.
    chosen = [rows[-1 - number % len(rows)] for number in range(size)]
    inputs = {name: np.concatenate([row.inputs[name] for row in chosen]) for name in rows[0].inputs}
    try:
        outputs = engine.run(inputs)
    except EnginecrateError as exc:
        return f"a batch of {size} fails: {exc}"
    for name, array in outputs.items():
        if array.shape[:1] != (size,):
            return f"a batch of {size} gives {name!r} the shape {list(array.shape)}"
    for number, row in enumerate(chosen):
        part = {name: array[number : number + 1] for name, array in outputs.items()}
        wrong = first_difference(row.outputs, part, precision)
        if wrong and not (same_result is not None and same_result(row, part)):
            return (
                f"in a batch of {size}, {row.name} at place {number + 1} gets another {wrong!r} "
                "than alone"
            )
    return ""


def _is_random(engine: Runner, row: Single, precision: Precision) -> bool:
    return bool(first_difference(row.outputs, engine.run(row.inputs), precision))


def first_difference(alone: Tensors, found: Tensors, precision: Precision) -> str:
    """The name of the first output that is not the same; empty when all are."""
    return next((name for name in found if not _close(found[name], alone[name], precision)), "")


def _close(found: Array, alone: Array, precision: Precision) -> bool:
    if found.shape != alone.shape or found.dtype != alone.dtype:
        return False
    if found.dtype == object or found.dtype.kind in "bSU":
        return bool((found == alone).all())
    if found.dtype.kind in "iu":
        steps = _ONE_STEP if found.dtype.itemsize == 1 else 0
        return bool((np.abs(found.astype(np.float64) - alone.astype(np.float64)) <= steps).all())
    values, expected = found.astype(np.float64), alone.astype(np.float64)
    magnitudes = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    noise = _NOISE * magnitudes.max(initial=0.0) + LEAST
    usual, largest = (
        share * _channel_scale(magnitudes) + noise for share in _CLOSE.get(precision, _CLOSE_OTHERS)
    )
    same = (values == expected) | (np.isnan(values) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(values - expected))
        return bool((distance <= largest).all() and (distance <= usual).mean() >= _MOST)


def _channel_scale(magnitudes: Array) -> Array:
    """The largest magnitude in each number's channel: boxes and scores share one output.

    A table such as [1, 84, 8400] or [1, 300, 6] has its channels along the short side; in any other
    output all numbers are alike.
    """
    sides = sorted(magnitudes.shape[1:])
    if magnitudes.ndim != 3 or sides[0] < 2 or sides[1] < 2 * sides[0]:
        return np.array(magnitudes.max(initial=0.0))
    long = 2 if magnitudes.shape[2] == sides[1] else 1
    found: Array = magnitudes.max(axis=long, keepdims=True)
    return found


def _is_silent(rows: Sequence[Single]) -> bool:
    """True when every output holds one and the same number for every sample, as padding does."""
    first = rows[0].outputs
    return all(
        _is_same(array, first[name])
        for row in rows
        for name, array in row.outputs.items()
        if array.size and first[name].size
    )


def _is_same(array: Array, first: Array) -> bool:
    """True when all numbers are the first one of `first`."""
    if array.dtype.kind not in "fiu":
        return bool((array == first.flat[0]).all())
    distance = np.abs(array.astype(np.float64) - float(first.flat[0]))
    return bool((distance <= LEAST).all())
