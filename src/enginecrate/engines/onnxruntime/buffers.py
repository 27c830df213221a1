"""Fixed buffers on a device for one set of shapes, bound to a session of onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from enginecrate.cuda.arrays import DeviceArray, Foreign
from enginecrate.engines.onnxruntime.memory import DeviceMemory
from enginecrate.engines.onnxruntime.runtime import load_runtime
from enginecrate.values import Array, Tensors

__all__ = ["NO_GRAPH", "DeviceSlot", "Shapes"]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the inputs, sorted."""

NO_GRAPH = -1
"""Such runs are neither recorded nor replayed (onnxruntime, run option `gpu_graph_id`)."""


class DeviceSlot:
    """Inputs and outputs of one shape at addresses that never change.

    Attributes:
        proven: whether it ran at least once.
    """

    def __init__(
        self,
        binding: Any,
        memory: DeviceMemory,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, np.dtype[Any]],
        graph: int,
    ) -> None:
        """Allocate the buffers and bind them. Raises `EngineRunFailed` without enough memory."""
        self.proven = False
        self._memory = memory
        self._binding = binding
        self._shapes = {**inputs, **outputs}
        self._dtypes = dtypes
        self._outputs = tuple(outputs)
        self._pointers: dict[str, int] = {}
        try:
            for name in self._shapes:
                self._pointers[name] = memory.allocate(self._size(name))
        except BaseException:
            self.free()
            raise
        for name in inputs:
            binding.bind_input(*self._bound(name))
        for name in outputs:
            binding.bind_output(*self._bound(name))
        self._graph = graph
        self._options = _run_options(graph)

    def fill(self, name: str, values: Sequence[Array | Foreign]) -> None:
        """Start copying an input in, one part behind the other; `settle` waits for it.

        A batch that is smaller than the buffer is filled up with rows that it has.
        """
        start = pointer = self._pointers[name]
        for value in values:
            if isinstance(value, Foreign):
                self._memory.wait_for(value.stream)
                self._memory.start_across(pointer, value.pointer, value.nbytes)
            else:
                self._memory.start_in(pointer, value)
            pointer += value.nbytes
        missing = self._size(name) - (pointer - start)
        if missing > 0:  # fewer than there are: see padded_batch
            self._memory.start_across(pointer, pointer - missing, missing)

    def settle(self) -> None:
        """Wait until every copy is done."""
        self._memory.finish()

    def search(self, session: Any) -> None:
        """Run once without recording: kernels are searched, and memory is taken, for this shape.

        That takes up to seconds, and other work of the process may go on meanwhile; a recording
        then takes milliseconds. Raises whatever onnxruntime raises.
        """
        if not self.proven and self._graph != NO_GRAPH:
            session.run_with_iobinding(self._binding, _run_options(NO_GRAPH))

    def run(self, session: Any) -> None:
        """Run, record or replay. Raises whatever onnxruntime raises."""
        session.run_with_iobinding(self._binding, self._options)
        self.proven = True

    def copy_outputs(self, batches: Sequence[int], into: Sequence[Tensors | None]) -> list[Tensors]:
        """The rows of each part of every output, on the host.

        Args:
            batches: rows of each part; 0: the outputs are not batched, and there is one part.
            into: arrays that take the outputs of a part; `None`: new ones do.
        """
        parts: list[dict[str, Array]] = [{} for _ in batches]
        for name in self._outputs:
            pointer = self._pointers[name]
            for part, batch, given in zip(parts, batches, into, strict=True):
                array = None if given is None else given.get(name)
                shape = self._cut(name, batch)
                if array is None or array.shape != shape:
                    array = np.empty(shape, self._dtypes[name])
                self._memory.start_out(array, pointer)
                part[name] = array
                pointer += array.nbytes
        self._memory.finish()
        return list(parts)

    def device_outputs(self, batch: int) -> dict[str, DeviceArray]:
        """As `copy_outputs`, where they are."""
        return {
            name: DeviceArray(
                self._pointers[name],
                self._cut(name, batch),
                self._dtypes[name],
                self._memory.device,
                self._memory.copy_out,
                self,
            )
            for name in self._outputs
        }

    def free(self) -> None:
        """Give the buffers back. A second call does nothing."""
        self._binding = None
        while self._pointers:
            self._memory.free(self._pointers.popitem()[1])

    def _cut(self, name: str, batch: int) -> tuple[int, ...]:
        shape = self._shapes[name]
        return (batch, *shape[1:]) if batch else shape

    def _size(self, name: str) -> int:
        return math.prod(self._shapes[name]) * self._dtypes[name].itemsize

    def _bound(self, name: str) -> tuple[str, str, int, np.dtype[Any], tuple[int, ...], int]:
        memory = self._memory
        return (
            name,
            memory.kind,
            memory.device,
            self._dtypes[name],
            self._shapes[name],
            self._pointers[name],
        )


def _run_options(graph: int) -> Any:
    options = load_runtime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
