"""The pipeline of an app that has none: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from enginecrate.errors import TensorMismatch, TensorsTooLarge
from enginecrate.pipelines.base import Limits, Prepared, TensorResult, TensorsResult
from enginecrate.pipelines.npz import read_npz
from enginecrate.values import Array, DataType, PipelineSpec, Tensors, TensorSpec

__all__ = ["TensorsPipeline"]


class TensorsPipeline:
    """Takes the model's inputs as the bytes of an `.npz` file and answers all of its outputs.

    Immutable, so any number of threads may use it.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        labels: Sequence[str],
        limits: Limits,
    ) -> None:
        """Take note of the model.

        Args:
            spec: the `[pipeline]` section; only its task counts.
            inputs: of the model.
            outputs: of the model.
            labels: not used.
            limits: `max_bytes` counts for the archive, and for its unpacked arrays together.
        """
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = tuple(outputs)
        self._limits = limits
        # Only when all agree is the first dimension a batch, of which a sample has one.
        self._batched = all(tensor.shape[:1] == (-1,) for tensor in (*inputs, *outputs))

    @property
    def task(self) -> str:
        return "tensors"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        """Read one array for each model input.

        Raises:
            TensorsUndecodable: the payload is not an `.npz` archive of plain arrays.
            TensorsTooLarge: it is over the limit.
            TensorMismatch: an array is missing, unknown, or of the wrong shape or datatype.
        """
        size = memoryview(payload).nbytes
        if size > self._limits.max_bytes:
            raise TensorsTooLarge(
                f"the .npz archive has {size:,} bytes; the limit is {self._limits.max_bytes:,}"
            )
        arrays = read_npz(payload, self._limits.max_bytes)
        self._check_names(arrays)
        tensors = {name: self._tensor(spec, arrays[name]) for name, spec in self._inputs.items()}
        return Prepared(tensors, None)

    def finish(self, outputs: Tensors, context: Any) -> TensorsResult:
        """Every output of the model, in the model's order."""
        return TensorsResult([_result(spec, outputs[spec.name]) for spec in self._outputs])

    def _check_names(self, arrays: Tensors) -> None:
        missing = [str(spec) for name, spec in self._inputs.items() if name not in arrays]
        unknown = [repr(name) for name in arrays if name not in self._inputs]
        if missing or unknown:
            faults = [f"it lacks {', '.join(missing)}"] if missing else []
            faults += [f"the model has no input {', '.join(unknown)}"] if unknown else []
            raise TensorMismatch(
                f"the .npz archive does not fit the model: {'; '.join(faults)}; "
                "name each array as the model's input that it is for"
            )

    def _tensor(self, spec: TensorSpec, array: Array) -> Array:
        array = _converted(spec, array)
        wanted = (1, *spec.shape[1:]) if self._batched else spec.shape
        if array.shape == wanted[1:] and wanted[:1] == (1,):
            array = array[np.newaxis]
        fits = len(array.shape) == len(wanted) and all(
            want in (-1, have) for want, have in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            hint = "; send one sample at a time" if self._batched else ""
            raise TensorMismatch(
                f"{spec.name!r} has shape {list(array.shape)}, and the model's input needs "
                f"{list(wanted)} (-1: any size){hint}"
            )
        return np.asarray(array, order="C")


def _converted(spec: TensorSpec, array: Array) -> Array:
    """The array in the input's own dtype, when it holds just that in another notation."""
    wanted = spec.datatype.numpy
    if spec.datatype is DataType.BYTES and array.dtype.kind in "SU":
        flat = [item if isinstance(item, bytes) else item.encode() for item in array.ravel()]
        texts = np.empty(array.size, object)
        texts[:] = flat
        return texts.reshape(array.shape)
    if spec.datatype is DataType.BF16 and array.dtype == np.dtype("V2"):
        return array.view(wanted)  # NumPy's format has no name for bfloat16
    if array.dtype.newbyteorder("=") != wanted:
        raise TensorMismatch(
            f"{spec.name!r} is {array.dtype}, and the model's input is {spec.datatype}; "
            f"convert it: array.astype({wanted.name!r})"
        )
    return array.astype(wanted, copy=False)


def _result(spec: TensorSpec, array: Array) -> TensorResult:
    flat = np.asarray(array).reshape(-1)
    data: list[Any]
    if spec.datatype is DataType.BYTES:
        data = [bytes(item).decode("utf-8", "backslashreplace") for item in flat]
    elif spec.datatype is DataType.BF16:
        data = flat.astype(np.float32).tolist()
    else:
        data = flat.tolist()
    return TensorResult(spec.name, spec.datatype.value, list(array.shape), data)
