"""Proves that a pipeline, above all an ISV's own, keeps what the server relies on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from enginecrate.errors import EnginecrateError, PipelineModuleInvalid
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Pipeline,
    Prepared,
    Result,
    TensorsResult,
)
from enginecrate.pipelines.plain_result import plain_result
from enginecrate.pipelines.project_module import own_traceback
from enginecrate.values import Tensors, TensorSpec

__all__ = ["check_contract"]

T = TypeVar("T")

_RESULTS: dict[str, type[Any]] = {
    "classification": ClassificationResult,
    "detection": DetectionResult,
    "image": TensorsResult,
    "tensors": TensorsResult,
}
_GARBAGE = (b"", b"not an image", bytes(range(256)))
_THREADS = 2
_RUNS_PER_THREAD = 3


def check_contract(
    pipeline: Pipeline,
    payload: bytes,
    inputs: Sequence[TensorSpec],
    outputs_of: Callable[[Tensors], Tensors],
) -> Result:
    """Run a pipeline on one sample and check every promise of the `Pipeline` protocol.

    It is checked that the model inputs have the right names, shapes and datatypes; that the
    result is of the task's type and survives JSON; that the same sample gives the same result
    again, from a memoryview, and from two threads at once; that `finish` leaves the outputs
    as they were; and that garbage is refused with one of our errors.

    Args:
        pipeline: made for the model.
        payload: a sample that the pipeline should accept.
        inputs: of the model.
        outputs_of: runs the model. Called once.

    Returns:
        The result for the sample.

    Raises:
        PipelineModuleInvalid: a promise is broken; the message says which, and what to do.
        EnginecrateError: the pipeline refuses the sample, or the engine fails.
    """
    check = _Check(pipeline)
    prepared = check.prepare(payload)
    check.tensors(prepared.tensors, inputs)
    outputs = {name: np.array(array) for name, array in outputs_of(prepared.tensors).items()}
    result = check.finish(outputs, prepared.context)
    encoded = check.json(result)

    check.repeats(payload, prepared, outputs, encoded)
    check.repeats(memoryview(payload), prepared, outputs, encoded)
    with ThreadPoolExecutor(_THREADS) as pool:
        runs = [
            pool.submit(check.repeats, payload, prepared, outputs, encoded, " from two threads")
            for _ in range(_THREADS * _RUNS_PER_THREAD)
        ]
        for run in runs:
            run.result()
    check.refuses_garbage()
    return result


class _Check:
    """One promise for each method."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.name = type(pipeline).__name__
        self.root = Path(inspect.getsourcefile(type(pipeline)) or ".").parent
        if pipeline.task not in _RESULTS:
            raise self.broken(f"task is {pipeline.task!r}; it must be one of {', '.join(_RESULTS)}")

    def broken(self, what: str) -> PipelineModuleInvalid:
        return PipelineModuleInvalid(f"the pipeline {self.name} breaks its contract: {what}")

    def call(self, what: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except EnginecrateError:
            raise
        except Exception as exc:
            raise self.broken(f"{what} failed: {own_traceback(exc, self.root)}") from exc

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        prepared: object = self.call("prepare", lambda: self.pipeline.prepare(payload))
        if not isinstance(prepared, Prepared):
            raise self.broken(
                f"prepare returned {_kind(prepared)}; it must return Prepared(tensors, context)"
            )
        if not isinstance(prepared.tensors, Mapping):
            raise self.broken(
                f"prepare returned tensors of type {_kind(prepared.tensors)}; they must be a "
                "dict from the name of each model input to its array"
            )
        return prepared

    def tensors(self, tensors: Tensors, inputs: Sequence[TensorSpec]) -> None:
        names = {spec.name for spec in inputs}
        if set(tensors) != names:
            raise self.broken(
                f"prepare gave tensors for {sorted(tensors)}; the model's inputs are "
                f"{sorted(names)}"
            )
        for spec in inputs:
            self.tensor(tensors[spec.name], spec)

    def tensor(self, array: object, spec: TensorSpec) -> None:
        if not isinstance(array, np.ndarray):
            raise self.broken(f"prepare gave {_kind(array)} for {spec}; it must be a NumPy array")
        if array.dtype != spec.datatype.numpy:
            raise self.broken(
                f"prepare gave {array.dtype} for {spec}; convert it: "
                f"array.astype({spec.datatype.numpy.name!r})"
            )
        shape = (1, *spec.shape[1:]) if spec.shape[:1] == (-1,) else spec.shape
        fits = len(array.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise self.broken(
                f"prepare gave shape {list(array.shape)} for {spec}; it must be {list(shape)} "
                "(the first dimension is a batch of 1; -1: any size)"
            )

    def finish(self, outputs: Tensors, context: Any) -> Result:
        given = {name: np.array(array) for name, array in outputs.items()}
        result: Result = self.call(
            "finish", lambda: plain_result(self.pipeline.finish(given, context), self.name)
        )
        kind = _RESULTS[self.pipeline.task]
        if type(result) is not kind:
            raise self.broken(
                f"finish returned {_kind(result)}; for task {self.pipeline.task!r} it must be "
                f"{kind.__name__}"
            )
        if any(not _same(given.get(name), array) for name, array in outputs.items()):
            raise self.broken(
                "finish changed the outputs that it was given; the server may still need them: "
                "work on a copy (array.copy())"
            )
        return result

    def json(self, result: Result) -> bytes:
        try:
            encoded = msgspec.json.encode(result)
            msgspec.json.decode(encoded, type=type(result))
        except (TypeError, msgspec.MsgspecError) as exc:
            raise self.broken(
                f"the result cannot be written as JSON and read again: {exc}; use numbers "
                "(also NumPy's) for scores, classes and boxes, and text for labels"
            ) from exc
        return encoded

    def repeats(
        self,
        payload: bytes | memoryview,
        first: Prepared,
        outputs: Tensors,
        encoded: bytes,
        how: str = "",
    ) -> None:
        again = self.prepare(payload)
        how += " with a memoryview for the payload" if isinstance(payload, memoryview) else ""
        for name, array in first.tensors.items():
            if not _same(again.tensors.get(name), array):
                raise self.broken(
                    f"prepare gave another tensor {name!r} for the same payload{how}; it must "
                    "not depend on chance, on time, or on what it did before"
                )
        if self.json(self.finish(outputs, again.context)) != encoded:
            raise self.broken(
                f"finish gave another result for the same outputs{how}; it must not depend on "
                "chance, on time, or on what it did before"
            )

    def refuses_garbage(self) -> None:
        for garbage in _GARBAGE:
            try:
                self.pipeline.prepare(garbage)
            except EnginecrateError:
                continue
            except Exception as exc:
                raise self.broken(
                    f"prepare answered a payload that is no sample with "
                    f"{own_traceback(exc, self.root)}; raise one of enginecrate.errors "
                    "(PipelineError, for example), so that the client hears what is wrong"
                ) from exc


def _same(first: object, second: object) -> bool:
    if not isinstance(first, np.ndarray) or not isinstance(second, np.ndarray):
        return False
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    # Bits, not values: NaN equals itself. Arrays of objects have no bits to compare.
    return (
        bool((first == second).all())
        if first.dtype.hasobject
        else first.tobytes() == second.tobytes()
    )


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"{type(value).__name__}"
