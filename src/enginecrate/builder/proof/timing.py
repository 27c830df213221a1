"""The time that each step of an app takes on this machine. Timing takes a few seconds in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from enginecrate.engines.base import Engine
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Profile, Progress, Tensors, no_progress

__all__ = ["Timing", "TimingRow", "time_app", "time_calls"]

_BUDGET_SECONDS = 0.4
_ENGINE_SECONDS = 2.0
_MOST_RUNS = 50
_FEWEST_RUNS = 3
_USUAL_BATCHES = (1, 4, 8)


class TimingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step at one batch size. Times in milliseconds for the whole batch.

    step: `prepare` (decode, resize, normalise), `engine`, `finish` (read the outputs), or
        `predict` (all of it).
    per_second: samples a second, from the median.
    """

    step: str
    batch: int
    runs: int
    median_ms: float
    p95_ms: float
    per_second: float


class Timing(msgspec.Struct, frozen=True):
    """Every row, and what could not be timed."""

    rows: tuple[TimingRow, ...]
    notes: tuple[str, ...] = ()


def time_app(
    engine: Engine,
    pipeline: Pipeline,
    payloads: Sequence[bytes],
    fallback: Tensors | None,
    profiles: Sequence[Profile],
    progress: Progress = no_progress,
    *,
    max_batch: int | None = None,
) -> Timing:
    """Time the steps around the engine on the payloads, and the engine at several batch sizes.

    Larger batches are left out on a machine that is too slow for them.

    Args:
        engine: must be thread-safe or idle.
        pipeline: the app's.
        payloads: samples as clients send them; may be empty.
        fallback: one sample of tensors, for the engine when there are no payloads.
        profiles: their first dimensions are the batch sizes; without profiles 1, 4 and 8.
        progress: told about each row.
        max_batch: the largest batch that is timed; default: the engine's.
    """
    batches = _batches(engine.max_batch if max_batch is None else max_batch, profiles)
    if payloads:
        return Timing(tuple(_time_all(engine, pipeline, payloads, batches, progress)))
    if fallback is None:
        return Timing((), ("no golden samples, and inputs of unknown shape: nothing was timed",))
    rows = _time_engine(engine, fallback, batches, progress)
    return Timing(
        tuple(rows), ("no golden samples: only the engine was timed, on made-up tensors",)
    )


def time_calls(
    step: str, batch: int, calls: Sequence[Callable[[], object]], budget: float = _BUDGET_SECONDS
) -> TimingRow:
    """Call each once to warm up, then in turn, until the budget in seconds is spent.

    At least 3 and at most 50 calls are timed.
    """
    for call in calls:
        call()
    seconds: list[float] = []
    end = time.perf_counter() + budget
    while len(seconds) < _FEWEST_RUNS or (len(seconds) < _MOST_RUNS and time.perf_counter() < end):
        call = calls[len(seconds) % len(calls)]
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    return TimingRow(
        step=step,
        batch=batch,
        runs=len(seconds),
        median_ms=round(median * 1e3, 3),
        p95_ms=round(float(np.percentile(seconds, 95)) * 1e3, 3),
        per_second=round(batch / max(median, 1e-9), 1),
    )


def _time_all(
    engine: Engine,
    pipeline: Pipeline,
    payloads: Sequence[bytes],
    batches: Sequence[int],
    progress: Progress,
) -> list[TimingRow]:
    prepared = [pipeline.prepare(payload) for payload in payloads]
    computed = [engine.run(one.tensors) for one in prepared]

    def predict(payload: bytes) -> object:
        sample = pipeline.prepare(payload)
        return pipeline.finish(engine.run(sample.tensors), sample.context)

    progress("time the app", 0, 4)
    rows = [time_calls("prepare", 1, [partial(pipeline.prepare, payload) for payload in payloads])]
    progress("time the app", 1, 4)
    rows += _time_engine(engine, prepared[0].tensors, batches, progress)
    progress("time the app", 2, 4)
    pairs = zip(computed, prepared, strict=True)
    finishes = [partial(pipeline.finish, outputs, one.context) for outputs, one in pairs]
    rows.append(time_calls("finish", 1, finishes))
    progress("time the app", 3, 4)
    rows.append(time_calls("predict", 1, [partial(predict, payload) for payload in payloads]))
    progress("time the app", 4, 4)
    return rows


def _time_engine(
    engine: Engine, sample: Tensors, batches: Sequence[int], progress: Progress
) -> list[TimingRow]:
    rows: list[TimingRow] = []
    start = time.perf_counter()
    for number, batch in enumerate(batches):
        if rows and time.perf_counter() - start > _ENGINE_SECONDS:
            break  # a larger batch takes longer still
        progress("time the engine", number, len(batches))
        tensors = {name: np.repeat(array, batch, axis=0) for name, array in sample.items()}
        if not engine.max_batch:
            tensors = dict(sample)
        rows.append(time_calls("engine", batch, [partial(engine.run, tensors)]))
    progress("time the engine", len(batches), len(batches))
    return rows


def _batches(max_batch: int, profiles: Sequence[Profile]) -> list[int]:
    if not max_batch:
        return [1]
    sizes = {
        shape[0] for profile in profiles for shapes in profile.values() for shape in shapes if shape
    }
    return sorted(size for size in (sizes or _USUAL_BATCHES) if size <= max_batch)
